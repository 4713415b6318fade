"""A deployed stack, through localstack-client: its resources, secrets, functions and logs."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import unquote, urlsplit

from botocore.config import Config
from localstack_client.session import Session

PATIENT = Config(read_timeout=120, retries={"total_max_attempts": 1})
"""For an Invoke: an emulator's cold start takes seconds."""


class StackError(Exception):
    """A resource of the stack is missing, or one of its functions failed."""


class Account:
    """The emulated account, through a session of localstack-client, which has no types."""

    def __init__(self, host: str) -> None:
        self._session: Any = Session(localstack_host=host)

    def client(self, service: str, **options: Any) -> Any:
        """Return a boto3 client of the service."""
        return self._session.client(service, **options)

    def create_bucket(self, name: str) -> None:
        """Make a bucket for the artifacts."""
        self.client("s3").create_bucket(Bucket=name)

    def delete_bucket(self, name: str) -> None:
        """Delete the bucket with all that is in it."""
        s3 = self.client("s3")
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=name):
            for entry in page.get("Contents", []):
                s3.delete_object(Bucket=name, Key=entry["Key"])
        s3.delete_bucket(Bucket=name)

    def create_database_secret(self, name: str, url: str) -> str:
        """Put a database's URL into Secrets Manager, in the form that RDS gives its secrets; return the ARN."""
        parts = urlsplit(url)
        secret = {
            "engine": "postgres",
            "host": parts.hostname,
            "port": parts.port or 5432,
            "dbname": parts.path.lstrip("/"),
            "username": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
            "sslmode": "prefer",  # the embedded server has no TLS
        }
        made = self.client("secretsmanager").create_secret(Name=name, SecretString=json.dumps(secret))
        return str(made["ARN"])

    def delete_secret(self, arn: str) -> None:
        """Delete a secret at once."""
        self.client("secretsmanager").delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A stack of the account, once it is deployed."""

    account: Account
    name: str

    @cached_property
    def resources(self) -> dict[str, str]:
        """The id of each resource, by its name in the template."""
        pages = self.account.client("cloudformation").get_paginator("list_stack_resources")
        return {
            entry["LogicalResourceId"]: entry["PhysicalResourceId"]
            for page in pages.paginate(StackName=self.name)
            for entry in page["StackResourceSummaries"]
            if "PhysicalResourceId" in entry
        }

    def resource(self, logical: str) -> str:
        """Return one resource's id; raises StackError."""
        if logical not in self.resources:
            raise StackError(f"The stack {self.name} has no {logical}.")
        return self.resources[logical]

    def secret(self, logical: str) -> str:
        """Return the value of a secret of the template."""
        found = self.account.client("secretsmanager").get_secret_value(SecretId=self.resource(logical))
        return str(found["SecretString"])

    def invoke(self, logical: str, event: object = None) -> Any:
        """Run a function and return its answer; raises StackError with its error."""
        client = self.account.client("lambda", config=PATIENT)
        answer = client.invoke(FunctionName=self.resource(logical), Payload=json.dumps(event or {}).encode())
        with answer["Payload"] as payload:
            text = payload.read().decode()
        if "FunctionError" in answer:
            raise StackError(f"{logical} failed: {text}")
        return json.loads(text or "null")

    def reasons(self) -> list[str]:
        """Return why resources failed in the deployments of this stack, newest first."""
        client = self.account.client("cloudformation")
        pages = client.get_paginator("describe_stack_events").paginate(StackName=self.name)
        events = [event for page in pages for event in page["StackEvents"]]
        return [
            event.get("ResourceStatusReason", "")
            for event in events
            if event.get("ResourceStatus", "").endswith("FAILED")
        ]

    def versions(self) -> dict[str, str]:
        """Return the version that each function's alias `live` serves, by the function's name in the template."""
        client = self.account.client("lambda")
        return {
            logical.removesuffix("Aliaslive"): client.get_alias(FunctionName=name.split(":")[-2], Name="live")[
                "FunctionVersion"
            ]
            for logical, name in self.resources.items()
            if logical.endswith("Aliaslive")
        }

    def log_groups(self) -> set[str]:
        """Return the names of the log groups of the template's functions."""
        client = self.account.client("lambda")
        names = [identity for logical, identity in self.resources.items() if logical.endswith("Function")]
        configurations = {name: client.get_function_configuration(FunctionName=name) for name in names}
        return {
            configuration.get("LoggingConfig", {}).get("LogGroup") or f"/aws/lambda/{name}"
            for name, configuration in configurations.items()
        }

    def log(self, group: str, *, since: float = 0.0) -> list[str]:
        """Return the log since a moment, from CloudWatch; a function that never ran may have no log group."""
        logs = self.account.client("logs")
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, startTime=int(since * 1000))
        try:
            return [line for page in pages for event in page["events"] for line in event["message"].splitlines()]
        except logs.exceptions.ResourceNotFoundException:
            return []

    def delete(self) -> None:
        """Delete the stack and wait until it is gone; raises botocore's WaiterError.

        `sam delete` accepts only Amazon's own addresses of nested templates.
        """
        client = self.account.client("cloudformation")
        client.delete_stack(StackName=self.name)
        client.get_waiter("stack_delete_complete").wait(
            StackName=self.name, WaiterConfig={"Delay": 1, "MaxAttempts": 120}
        )

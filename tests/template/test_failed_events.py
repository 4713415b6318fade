"""Failed events are kept: the template's queue, on moto, used as Lambda uses it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tests.template.conftest import Template

REGION = "eu-central-1"


@pytest.fixture
def url(template: Template, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of the queue, created with the template's properties, which are SQS's attributes."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    said = template.of_type("AWS::SQS::Queue")["FailedEvents"]
    attributes: Mapping[Any, str] = {name: json.dumps(value) for name, value in said.items()}
    with mock_aws():
        sqs = boto3.client("sqs", region_name=REGION)
        yield sqs.create_queue(QueueName="failed-events", Attributes=attributes)["QueueUrl"]


def test_a_failed_event_can_be_read_until_it_is_purged(root: Path, url: str) -> None:
    """SQS keeps a message for 14 days at most."""
    sqs = boto3.client("sqs", region_name=REGION)
    # https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    failed = {
        "requestContext": {"condition": "RetriesExhausted", "approximateInvokeCount": 3},
        "requestPayload": json.loads((root / "events" / "flush.json").read_text()),
        "responsePayload": {"errorMessage": "the connection was lost", "errorType": "OperationalError"},
    }
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps(failed))

    for _ in range(2):
        messages = sqs.receive_message(QueueUrl=url, VisibilityTimeout=0).get("Messages", [])
        assert [json.loads(message.get("Body", "")) for message in messages] == [failed]
    kept = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert kept["MessageRetentionPeriod"] == str(14 * 24 * 3600)
    assert kept["SqsManagedSseEnabled"] == "true"
    assert kept["ApproximateNumberOfMessages"] == "1"
    sqs.purge_queue(QueueUrl=url)
    assert "Messages" not in sqs.receive_message(QueueUrl=url)

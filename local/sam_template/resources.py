"""The resources of template.yaml as values: functions, routes, authorizers, schedules, queues."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from local.sam_template.intrinsics import QUEUE, Resolver, TemplateError, read

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["Authorizer", "Deployment", "Function", "HttpRoute", "Queue", "Schedule", "TemplateError"]

_FUNCTION_ARN = re.compile(r":function:([^/:]+)")
_RATE = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")
_EVENTS = ("ScheduleV2", "SQS")
_SECONDS = {"minute": 60, "hour": 3600, "day": 86400}


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A Lambda function: its code, its limits, its environment."""

    name: str
    code: Path
    layers: tuple[Path, ...]
    handler: str
    timeout: int  # seconds
    memory: int  # MB
    retries: int  # of an asynchronous invocation
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorizer:
    """A REQUEST authorizer: its function, and the expressions that must have a value before the function is asked."""

    function: str
    identity_sources: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRoute:
    """A route of the HTTP API; `method` may be ANY, and the path of the default route is `$default`."""

    method: str
    path: str
    function: str
    authorizer: Authorizer | None

    @property
    def key(self) -> str:
        """The route key as events carry it."""
        return self.path if self.path == "$default" else f"{self.method} {self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A function that runs periodically; `input` is its event, None for the scheduler's default event."""

    function: str
    seconds: int
    input: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A FIFO queue of SQS, with the function that handles its messages."""

    name: str
    arn: str
    deduplicates_content: bool
    deduplicates_by_group: bool
    """Whether equal deduplication ids in two groups are two messages."""
    function: str
    batch_size: int
    reports_failures: bool
    """Whether the function names the messages that failed; otherwise a batch succeeds or fails as a whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Everything in a template that runs on one machine."""

    region: str
    account: str
    functions: Mapping[str, Function]
    http_routes: tuple[HttpRoute, ...]
    websocket_routes: Mapping[str, str]
    websocket_stage: str
    websocket_selection: str
    websocket_authorizer: Authorizer | None
    schedules: tuple[Schedule, ...]
    queues: tuple[Queue, ...]

    @classmethod
    def load(
        cls,
        path: Path,
        parameters: Mapping[str, str] | None = None,
        *,
        region: str = "us-east-1",
        account: str = "000000000000",
        url: str = "",
    ) -> Deployment:
        """Read a SAM template; raise TemplateError, which names it, for anything that is not supported.

        `url` is where it will be served: the URLs of its queues begin with it.
        """
        template = read(path)
        resolver = Resolver(template, parameters or {}, region=region, account=account, url=url)
        reader = _Reader(template, resolver, path.resolve().parent)
        functions = {name: reader.function(name) for name in reader.of_type("AWS::Serverless::Function")}
        sockets = list(reader.of_type("AWS::Serverless::WebSocketApi"))
        if len(sockets) > 1:
            raise TemplateError(f"one WebSocket API can be served, the template has {', '.join(sockets)}")
        socket = reader.properties(sockets[0]) if sockets else {}
        routes: dict[str, dict[str, str]] = socket.get("Routes") or {}
        return cls(
            region=region,
            account=account,
            functions=MappingProxyType(functions),
            http_routes=tuple(reader.http_route(name) for name in reader.of_type("AWS::ApiGatewayV2::Route")),
            websocket_routes=MappingProxyType(
                {key: reader.function_of(route["FunctionArn"]) for key, route in routes.items()}
            ),
            websocket_stage=socket.get("StageName", "default"),
            websocket_selection=socket.get("RouteSelectionExpression", "$request.body.action"),
            websocket_authorizer=reader.websocket_authorizer(socket.get("Auth", {})),
            schedules=tuple(schedule for name in functions for schedule in reader.schedules(name)),
            queues=tuple(queue for name in functions for queue in reader.queues(name)),
        )

    def with_variables(self, variables: Mapping[str, Mapping[str, str]]) -> Deployment:
        """Return the deployment with more environment variables for the functions named."""
        functions = {
            name: replace(each, environment=MappingProxyType({**each.environment, **variables.get(name, {})}))
            for name, each in self.functions.items()
        }
        return replace(self, functions=MappingProxyType(functions))


class _Reader:
    """Follows the references between the resources of one template."""

    def __init__(self, template: Mapping[str, Any], resolver: Resolver, root: Path) -> None:
        self._resources: Mapping[str, Any] = template["Resources"]
        defaults: Mapping[str, Any] = template.get("Globals") or {}
        self._defaults: Mapping[str, Any] = defaults.get("Function") or {}
        self._resolver = resolver
        self._root = root

    def of_type(self, kind: str) -> Iterator[str]:
        """Name the resources of a type whose condition, if any, holds."""
        for name, resource in self._resources.items():
            if resource["Type"] == kind and (
                "Condition" not in resource or self._resolver.condition(resource["Condition"])
            ):
                yield name

    def properties(self, name: str, *, of: str = "") -> dict[str, Any]:
        """Return a resource's resolved properties; `of` is the type that it must have."""
        resource = self._resources.get(name)
        if resource is None or (of and resource["Type"] != of):
            raise TemplateError(f"the template has no {of or 'resource'} {name}")
        resolved: dict[str, Any] = self._resolver.resolve(resource.get("Properties") or {})
        return resolved

    def function(self, name: str) -> Function:
        """Return a function with the template's Globals merged in, as SAM merges them."""
        defaults = self._resolver.resolve(self._defaults)
        properties = self.properties(name)
        merged = defaults | properties
        variables = _variables(defaults) | _variables(properties)
        for needed in ("CodeUri", "Handler"):
            if needed not in merged:
                raise TemplateError(f"function {name} has no {needed}")
        layers = [*defaults.get("Layers", []), *properties.get("Layers", [])]
        return Function(
            name=name,
            code=self._root / merged["CodeUri"],
            layers=tuple(
                self._root / self.properties(layer, of="AWS::Serverless::LayerVersion")["ContentUri"]
                for layer in layers
            ),
            handler=merged["Handler"],
            timeout=int(merged.get("Timeout", 3)),
            memory=int(merged.get("MemorySize", 128)),
            retries=int(merged.get("EventInvokeConfig", {}).get("MaximumRetryAttempts", 2)),
            environment=MappingProxyType({key: str(value) for key, value in variables.items()}),
        )

    def function_of(self, uri: str) -> str:
        """Return the function that an ARN, or an integration's URI, names."""
        match = _FUNCTION_ARN.search(uri)
        if match is None or self._resources.get(match[1], {}).get("Type") != "AWS::Serverless::Function":
            raise TemplateError(f"the template has no function {uri}")
        return match[1]

    def http_route(self, name: str) -> HttpRoute:
        """Return a route of the HTTP API with the function behind it."""
        route = self.properties(name)
        target = str(route.get("Target", ""))
        integration = self.properties(target.removeprefix("integrations/"), of="AWS::ApiGatewayV2::Integration")
        if (integration["IntegrationType"], integration.get("PayloadFormatVersion")) != ("AWS_PROXY", "2.0"):
            raise TemplateError(f"the integration of route {name} is not AWS_PROXY with payload format 2.0")
        method, _, path = str(route["RouteKey"]).rpartition(" ")
        return HttpRoute(
            method=method or "ANY",
            path=path,
            function=self.function_of(integration["IntegrationUri"]),
            authorizer=self._http_authorizer(name, route),
        )

    def _http_authorizer(self, name: str, route: Mapping[str, Any]) -> Authorizer | None:
        kind = route.get("AuthorizationType", "NONE")
        if kind == "NONE":
            return None
        if kind != "CUSTOM":
            raise TemplateError(f"route {name} has AuthorizationType {kind}; CUSTOM and NONE are supported here")
        authorizer = self.properties(str(route.get("AuthorizerId")), of="AWS::ApiGatewayV2::Authorizer")
        if not authorizer.get("EnableSimpleResponses"):
            raise TemplateError(f"authorizer {route.get('AuthorizerId')} does not use simple responses")
        return Authorizer(
            function=self.function_of(authorizer["AuthorizerUri"]),
            identity_sources=tuple(authorizer.get("IdentitySource", ())),
        )

    def websocket_authorizer(self, auth: Mapping[str, Any]) -> Authorizer | None:
        """Return the authorizer of the WebSocket API's `$connect` route, if it has one."""
        kind = auth.get("AuthType", "NONE")
        if kind == "NONE":
            return None
        if kind != "CUSTOM":
            raise TemplateError(f"the WebSocket API has AuthType {kind}; CUSTOM and NONE are supported here")
        return Authorizer(
            function=self.function_of(auth["AuthArn"]), identity_sources=tuple(auth.get("IdentitySource", ()))
        )

    def schedules(self, name: str) -> Iterator[Schedule]:
        """Yield the schedules among a function's events."""
        for event, schedule in self._events(name, "ScheduleV2"):
            if schedule.get("State", "ENABLED") != "ENABLED":
                continue
            rate = _RATE.fullmatch(str(schedule["ScheduleExpression"]))
            if rate is None:
                raise TemplateError(f"event {event} of {name}: {schedule['ScheduleExpression']} is no rate(...)")
            yield Schedule(
                function=name,
                seconds=int(rate[1]) * _SECONDS[rate[2]],
                input=json.loads(schedule["Input"]) if "Input" in schedule else None,
            )

    def queues(self, name: str) -> Iterator[Queue]:
        """Yield the queues among a function's events."""
        for event, source in self._events(name, "SQS"):
            resource = str(source["Queue"]).rpartition(":")[2].removesuffix(".fifo")
            queue = self.properties(resource, of=QUEUE)
            if not queue.get("FifoQueue"):
                raise TemplateError(
                    f"event {event} of {name}: {resource} is no FIFO queue; only those are supported here"
                )
            yield Queue(
                name=self._resolver.queue_name(resource),
                arn=source["Queue"],
                deduplicates_content=bool(queue.get("ContentBasedDeduplication")),
                deduplicates_by_group=queue.get("DeduplicationScope") == "messageGroup",
                function=name,
                batch_size=int(source.get("BatchSize", 10)),
                reports_failures="ReportBatchItemFailures" in source.get("FunctionResponseTypes", ()),
            )

    def _events(self, name: str, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the name and the properties of each event of one type; a type that is not supported is an error."""
        for event, definition in self.properties(name).get("Events", {}).items():
            if definition["Type"] not in _EVENTS:
                raise TemplateError(
                    f"event {event} of {name} is a {definition['Type']}; only {' and '.join(_EVENTS)} are supported here"
                )
            if definition["Type"] == kind:
                yield event, definition["Properties"]


def _variables(properties: Mapping[str, Any]) -> dict[str, Any]:
    variables: dict[str, Any] = properties.get("Environment", {}).get("Variables", {})
    return variables

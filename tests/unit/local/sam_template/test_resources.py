"""Reading a template."""

from __future__ import annotations

from pathlib import Path

import pytest

from local.sam_template.resources import Authorizer, Deployment, Function, HttpRoute, Queue, Schedule, TemplateError

ROOT = Path(__file__).parents[4]

FUNCTION = """
  Hello:
    Type: AWS::Serverless::Function
    Properties: {CodeUri: hello, Handler: app.handler}
"""


def load(folder: Path, text: str, **parameters: str) -> Deployment:
    """Read a template from a text."""
    (folder / "template.yaml").write_text(text, encoding="utf-8")
    return Deployment.load(folder / "template.yaml", parameters)


def values(folder: Path, expression: str, head: str = "", **parameters: str) -> str:
    """Return what an expression resolves to, as a variable of a function."""
    text = f"{head}\nResources:{FUNCTION.rstrip()[:-1]}, Environment: {{Variables: {{X: {expression}}}}}}}"
    return load(folder, text, **parameters).functions["Hello"].environment["X"]


STANDARD_QUEUE = """
  F:
    Type: AWS::Serverless::Function
    Properties: {CodeUri: a, Handler: a.b, Events: {E: {Type: SQS, Properties: {Queue: !GetAtt Q.Arn}}}}
  Q: {Type: AWS::SQS::Queue}
"""

HEAD = """
Parameters:
  Name: {Type: String, Default: world}
  Subnets: {Type: CommaDelimitedList, Default: ""}
Conditions:
  IsMoon: !Equals [!Ref Name, moon]
  HasSubnets: !Not [!Equals [!Join ["", !Ref Subnets], ""]]
  Either: !Or [!Condition IsMoon, !Condition HasSubnets]
"""


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("!Ref Name", "moon"),
        ("{Ref: Name}", "moon"),
        ("!Ref Hello", "Hello"),
        ("!Ref AWS::Region", "us-east-1"),
        ('!Sub "${Name} ${Hello} ${AWS::StackName} ${!Name}"', "moon Hello local ${Name}"),
        ("!Sub ['${A}-${Name}', {A: !GetAtt Hello.Arn}]", "arn:aws:lambda:us-east-1:000000000000:function:Hello-moon"),
        ('!Sub "${Hello.Arn}"', "arn:aws:lambda:us-east-1:000000000000:function:Hello"),
        ("{'Fn::GetAtt': [Hello, Arn]}", "arn:aws:lambda:us-east-1:000000000000:function:Hello"),
        ("!If [IsMoon, a, b]", "a"),
        ("!If [HasSubnets, a, b]", "b"),
        ("!If [Either, a, b]", "a"),
        ("!Join ['+', [a, !Ref Name]]", "a+moon"),
        ("!Select [1, !Split [',', 'a,b']]", "b"),
    ],
)
def test_an_intrinsic_function_is_resolved(tmp_path: Path, expression: str, expected: str) -> None:
    """Both short and long forms."""
    assert values(tmp_path, expression, HEAD, Name="moon") == expected


def test_no_value_removes_its_property(tmp_path: Path) -> None:
    """In mappings and in lists."""
    text = f"""
Conditions: {{Never: !Equals [a, b]}}
Resources:{FUNCTION.rstrip()[:-1]}, Timeout: !If [Never, 9, !Ref AWS::NoValue], Layers: [!Ref AWS::NoValue]}}
"""
    hello = load(tmp_path, text).functions["Hello"]

    assert (hello.timeout, hello.layers) == (3, ())


def test_globals_are_merged_into_functions(tmp_path: Path) -> None:
    """A function's own properties win; variables are merged one by one; YAML's merge keys work."""
    deployment = load(
        tmp_path,
        """
Globals:
  Function: {Handler: app.handler, Timeout: 15, Layers: [!Ref Layer], Environment: {Variables: {A: 1, B: 2}}}
Resources:
  Layer: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: layers/one}}
  First:
    Type: AWS::Serverless::Function
    Properties: &first
      CodeUri: functions/first
      MemorySize: 1024
      Environment: {Variables: {B: 3}}
  Second:
    Type: AWS::Serverless::Function
    Properties: {<<: *first, Timeout: 7, EventInvokeConfig: {MaximumRetryAttempts: 0}}
  Absent:
    Type: AWS::Serverless::Function
    Condition: Never
    Properties: {CodeUri: nowhere}
Conditions: {Never: !Equals [a, b]}
""",
    )

    assert deployment.functions == {
        name: Function(
            name=name,
            code=tmp_path / "functions/first",
            layers=(tmp_path / "layers/one",),
            handler="app.handler",
            timeout=timeout,
            memory=1024,
            retries=retries,
            environment={"A": "1", "B": "3"},
        )
        for name, timeout, retries in (("First", 15, 2), ("Second", 7, 0))
    }


def test_schedules_are_read(tmp_path: Path) -> None:
    """Their rates in seconds, their input as an event; disabled ones are left out."""
    text = f"""
Resources:{FUNCTION}
      Events:
        Own: {{Type: ScheduleV2, Properties: {{ScheduleExpression: rate(2 hours), Input: '{{"a": 1}}'}}}}
        Off: {{Type: ScheduleV2, Properties: {{ScheduleExpression: rate(1 minute), State: DISABLED}}}}
        Each: {{Type: ScheduleV2, Properties: {{ScheduleExpression: rate(1 minute)}}}}
""".replace("{CodeUri: hello, Handler: app.handler}", "\n      CodeUri: hello\n      Handler: app.handler")

    assert load(tmp_path, text).schedules == (
        Schedule(function="Hello", seconds=7200, input={"a": 1}),
        Schedule(function="Hello", seconds=60, input=None),
    )


def test_a_queue_and_the_function_that_handles_its_messages_are_read(tmp_path: Path) -> None:
    """Functions know the queue by its URL, the event by its ARN; the local name ends as the name of a FIFO queue must."""
    text = """
Resources:
  Hello:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: hello
      Handler: app.handler
      Environment: {Variables: {URL: !Ref Late}}
      Events:
        Waiting:
          Type: SQS
          Properties: {Queue: !GetAtt Late.Arn, BatchSize: 5, FunctionResponseTypes: [ReportBatchItemFailures]}
  Late: {Type: AWS::SQS::Queue, Properties: {FifoQueue: true, DeduplicationScope: messageGroup}}
"""
    (tmp_path / "template.yaml").write_text(text, encoding="utf-8")

    deployment = Deployment.load(tmp_path / "template.yaml", url="http://127.0.0.1:8000")

    assert deployment.functions["Hello"].environment["URL"] == "http://127.0.0.1:8000/000000000000/Late.fifo"
    assert deployment.queues == (
        Queue(
            name="Late.fifo",
            arn="arn:aws:sqs:us-east-1:000000000000:Late.fifo",
            deduplicates_content=False,
            deduplicates_by_group=True,
            function="Hello",
            batch_size=5,
            reports_failures=True,
        ),
    )


def test_a_function_can_get_variables_of_its_own(tmp_path: Path) -> None:
    """They replace the template's, and no other function sees them."""
    text = f"Resources:{FUNCTION}{FUNCTION.replace('Hello', 'Other')}"

    deployment = load(tmp_path, text).with_variables({"Hello": {"X": "own"}})

    assert deployment.functions["Hello"].environment == {"X": "own"}
    assert deployment.functions["Other"].environment == {}


@pytest.mark.parametrize(
    ("resources", "complaint"),
    [
        ("F: {Type: AWS::Serverless::Function, Properties: {Handler: a.b}}", "function F has no CodeUri"),
        (
            "F: {Type: AWS::Serverless::Function, Properties: {CodeUri: !Ref Nope}}",
            "neither a parameter nor a resource Nope",
        ),
        ("F: {Type: AWS::Serverless::Function, Properties: {CodeUri: !GetAtt Nope.Arn}}", "no resource Nope"),
        ("F: {Type: AWS::Serverless::Function, Properties: {CodeUri: !If [Nope, a, b]}}", "no condition Nope"),
        (
            "F: {Type: AWS::Serverless::Function, Properties: {CodeUri: !ImportValue x}}",
            "Fn::ImportValue is not supported",
        ),
        ("R: {Type: AWS::ApiGatewayV2::Route, Properties: {RouteKey: GET /, Target: integrations/Nope}}", "Nope"),
        (
            "F: {Type: AWS::Serverless::Function, Properties: {CodeUri: a, Handler: a.b, Events: {E: {Type: S3}}}}",
            "event E of F is a S3",
        ),
        (
            STANDARD_QUEUE,
            "event E of F: Q is no FIFO queue",
        ),
        (
            "W: {Type: AWS::Serverless::WebSocketApi, Properties: {Routes: {$default: {FunctionArn: 'arn:function:Nope'}}}}",
            "no function arn:function:Nope",
        ),
    ],
)
def test_an_unsupported_or_broken_reference_is_named(tmp_path: Path, resources: str, complaint: str) -> None:
    """The error names it."""
    with pytest.raises(TemplateError, match=complaint):
        load(tmp_path, f"Resources:\n  {resources}")


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [({"Nope": "x"}, "no parameter Nope"), ({}, "Needed has no default")],
)
def test_parameters_must_fit(tmp_path: Path, parameters: dict[str, str], complaint: str) -> None:
    """An unknown and a missing parameter are refused; values from the environment are checked elsewhere."""
    head = "Parameters: {Needed: {Type: String}}"

    with pytest.raises(TemplateError, match=complaint):
        load(tmp_path, f"{head}\nResources: {{}}", **parameters)


def test_the_products_template_is_understood() -> None:
    """Its routes, its WebSocket API, its schedules."""
    deployment = Deployment.load(ROOT / "template.yaml", {"ConnectionsUrl": "http://127.0.0.1:8000"})

    assert HttpRoute(
        method="POST", path="/api/v1/agents/{agentId}/commands", function="CommandsFunction", authorizer=None
    ) in (deployment.http_routes)
    assert [route.function for route in deployment.http_routes if route.path == "$default"] == ["PagesFunction"]
    assert deployment.websocket_routes["$connect"] == "ConnectFunction"
    assert deployment.websocket_stage == "live"
    assert deployment.websocket_authorizer == Authorizer(
        function="AuthorizeAgentFunction", identity_sources=("route.request.querystring.agent_id",)
    )
    assert [schedule.function for schedule in deployment.schedules] == [
        "SweeperFunction",
        "AuditFunction",
        "DeliverWebhooksFunction",
    ]
    assert deployment.functions["ConnectFunction"].environment["FLUSH_FUNCTION"].endswith(":FlushFunction:live")
    assert deployment.functions["SweeperFunction"].environment["CONNECTIONS_URL"] == "http://127.0.0.1:8000"
    assert deployment.functions["SweeperFunction"].layers == (ROOT / "layers/dispatcher",)
    [queue] = deployment.queues
    assert (queue.function, queue.reports_failures) == ("LateReportsFunction", True)
    assert deployment.functions["MessageFunction"].environment["LATE_REPORTS_QUEUE_URL"].endswith(f"/{queue.name}")

"""A broken release under traffic: what CodeDeploy does on AWS, played on an emulator that has none.

CodeDeploy asks the hook, moves the alias, watches the alarms and moves the alias back.  Here this module does that, with the
stack's own hook and aliases; an emulator gives an alias all of its traffic at once, so that a tenth becomes all.
"""

import contextlib
import io
import json
import threading
import time
import zipfile
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from local.http_client import Client
from local.localstack.stack import Stack
from local.rehearsal import traffic
from local.rehearsal.traffic import Traffic, expect, until

BROKEN = "def handler(event, context):\n    raise RuntimeError('this release is broken')\n"
FUNCTIONS = ("CommandsFunction", "MessageFunction")
"""What the broken release breaks: the way of commands in, and of agents' reports."""
ALARM = 3
"""Failed requests after which the alarm rings.  On AWS more than 1% of the invocations in two minutes."""
PATIENCE = 120.0


@dataclass(slots=True, kw_only=True)
class CodeDeploy:
    """The API of CodeDeploy that a hook reports to."""

    url: str = ""
    told: list[str] = field(default_factory=list[str])


def play(
    stack: Stack,
    client: Client,
    folder: Path,
    show: Callable[[str], None],
    *,
    deploy_broken_migration: Callable[[], str],
) -> None:
    """Release what cannot migrate, what fails its check, and what fails at work; raises RehearsalFailed if a check fails.

    `deploy_broken_migration` deploys a release whose migration fails, and returns why.
    """
    with traffic.running(client, folder, pause=0.4) as load, _codedeploy() as codedeploy:
        load.wait_for(5, PATIENCE)
        before = stack.versions()
        expect(set(before.values()) == {"2"}, f"each alias serves the second version: {before}")
        show(f"{len(before)} aliases serve the versions of the second release")
        show(f"the deployment said: {deploy_broken_migration()}")
        expect(stack.versions() == before, "the aliases serve the version of before")
        load.wait_for(5, PATIENCE)
        _configure(stack, "ReleaseGateFunction", {"AWS_ENDPOINT_URL_CODEDEPLOY": codedeploy.url})
        _refused_by_its_check(stack, codedeploy)
        expect(stack.versions() == before, "the aliases serve the version of before")
        show("a release without a way to agents: the hook says Failed, and no alias moves")
        load.wait_for(5, PATIENCE)
        seconds = _moved_and_moved_back(stack, load, codedeploy)
        expect(stack.versions() == before, "the aliases serve the version of before")
        show(
            f"a release whose functions fail had all traffic for {seconds:.1f} s; the alarm rang, the aliases went back"
        )
        load.wait_for(5, PATIENCE)
        load.stop()
        again = load.settle(client, PATIENCE)
        show(
            f"{len(load.accepted)} commands accepted, all executed once; {load.operator.refused.total()} requests were"
            f" repeated, and {again} commands came to their agent again, which knew them"
        )


def _refused_by_its_check(stack: Stack, codedeploy: CodeDeploy) -> None:
    """Give the check the settings of a release that cannot reach agents; then those of before again."""
    usual = _configure(stack, "ReleaseCheckFunction", {"CONNECTIONS_URL": "http://127.0.0.1:9"})
    expect(_asked(stack, codedeploy) == "Failed", "the hook refuses a release that has no way to agents")
    _configure(stack, "ReleaseCheckFunction", usual)


def _moved_and_moved_back(stack: Stack, load: Traffic, codedeploy: CodeDeploy) -> float:
    """Release functions that raise, until the alarm would ring; return for how many seconds they had the traffic."""
    versions = stack.versions()
    published = {name: _published(stack, name) for name in FUNCTIONS}
    expect(_asked(stack, codedeploy) == "Succeeded", "the hook lets a release pass that finds what it needs")
    failed = load.operator.refused.total()
    began = time.monotonic()
    for name in FUNCTIONS:
        _move(stack, name, published[name])
    until("the alarm rings", lambda: load.operator.refused.total() >= failed + ALARM, PATIENCE)
    for name in FUNCTIONS:
        _move(stack, name, versions[name])
    return time.monotonic() - began


def _asked(stack: Stack, codedeploy: CodeDeploy) -> str:
    """Invoke the hook as CodeDeploy does, and return what CodeDeploy was told."""
    told = len(codedeploy.told)
    stack.invoke("ReleaseGateFunction", {"DeploymentId": "d-REHEARSAL", "LifecycleEventHookExecutionId": "e-REHEARSAL"})
    expect(len(codedeploy.told) == told + 1, "CodeDeploy is told once")
    return codedeploy.told[-1]


def _configure(stack: Stack, function: str, changed: Mapping[str, str]) -> dict[str, str]:
    """Change variables of a function's environment; return those that it had."""
    client, name = stack.account.client("lambda"), stack.resource(function)
    usual: dict[str, str] = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    client.update_function_configuration(FunctionName=name, Environment={"Variables": usual | dict(changed)})
    return usual


def _published(stack: Stack, function: str) -> str:
    """Publish a version of a function that raises; return its number."""
    client, name = stack.account.client("lambda"), stack.resource(function)
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("app.py", BROKEN)
    client.update_function_code(FunctionName=name, ZipFile=code.getvalue())
    return str(client.publish_version(FunctionName=name)["Version"])


def _move(stack: Stack, function: str, version: str) -> None:
    stack.account.client("lambda").update_alias(
        FunctionName=stack.resource(function), Name="live", FunctionVersion=version
    )


@contextlib.contextmanager
def _codedeploy() -> Generator[CodeDeploy]:
    """Serve the one call of CodeDeploy that the hook makes, on a free port of 127.0.0.1."""
    codedeploy = CodeDeploy()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            said: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            codedeploy.told.append(said["status"])
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the library
            """Write nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    codedeploy.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield codedeploy
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()

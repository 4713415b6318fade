"""`make localstack`: template.yaml built and deployed with the SAM CLI on LocalStack's port, and Test 3.2 run there.

ministack answers on that port, unless AWS_ENDPOINT_URL or LOCALSTACK_HOST names something else.  The database is the
embedded PostgreSQL, unless DATABASE_URL names one that the functions can reach.  Ends with 1 if a check fails, and
deletes everything that it created.
"""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg
from botocore.exceptions import BotoCoreError, ClientError
from rich.panel import Panel

from local.demo.scenario import Scenario, StepFailed, console, expect, show, step
from local.http_client import Client, Refused
from local.localstack import broken_release, edge_proxy, emulator, fitting, sam
from local.localstack.emulator import Emulator, EmulatorError
from local.localstack.fitting import UnfitError
from local.localstack.sam import Sam, SamError
from local.localstack.stack import Account, Stack, StackError
from local.postgres import server as postgres
from local.rehearsal.traffic import RehearsalFailed
from local.tools import smoke
from local.tools.smoke import CheckFailed, Deployment

ROOT = Path(__file__).resolve().parents[2]
SWEEP_SECONDS = 90.0
"""One minute of the schedule, 10 s until the emulator checks it, and a start of the function."""
COLD_SECONDS = 120.0
"""How long a handshake or an answer may take while functions start."""
FAILURES = (
    StepFailed,
    CheckFailed,
    RehearsalFailed,
    Refused,
    EmulatorError,
    UnfitError,
    SamError,
    StackError,
    ClientError,
    BotoCoreError,
)
INTRODUCTION = """\
The template is built and deployed with the SAM CLI, as on AWS.  The emulator on LocalStack's port runs its
functions, with agents on real WebSockets and a schedule that fires each minute.  docs/local-aws.md says what
this proves, and what only AWS can prove."""


def main() -> int:
    """Deploy, run the scenario, delete everything; return the exit code."""
    console.print(Panel(INTRODUCTION, title="make localstack", border_style="cyan", width=112))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dispatcher-aws-", ignore_cleanup_errors=True) as folder:
        try:
            with _emulator(Path(folder)) as running:
                try:
                    _run(running, Path(folder))
                except BaseException:
                    if log := running.log_end():
                        console.print(f"\n[dim]The end of the emulator's log:[/]\n{log}", markup=False, soft_wrap=True)
                    raise
        except FAILURES as error:
            console.print("\n[bold red]✗[/] ", end="")
            console.print(str(error), markup=False, soft_wrap=True)
            return 1
    console.print(f"\n[bold green]✓ all checks passed[/], after {time.monotonic() - began:.0f} s")
    return 0


def _run(running: Emulator, folder: Path) -> None:
    account = Account(running.host)
    with contextlib.ExitStack() as cleanup:
        built = _built()
        database_url = os.environ.get("DATABASE_URL") or cleanup.enter_context(postgres.running(folder / "home")).url
        with _deployed(account, running, built, database_url) as deployed:
            url = cleanup.enter_context(edge_proxy.opened(deployed.origins))
            conn = cleanup.enter_context(psycopg.connect(database_url, autocommit=True))
            client = _logged_in(deployed.stack, url)
            # First, because each function of an emulator takes seconds to start, longer than an agent waits.
            step("smoke", "What `make smoke` checks on every deployment")
            smoke.run(Deployment(client=client, sockets=smoke.sockets_of(url), patience=COLD_SECONDS), show)
            Scenario(
                client=client,
                conn=conn,
                log=lambda: _log(deployed),
                folder=folder,
                patience=30.0,
                sweep_patience=SWEEP_SECONDS,
            ).run()
            # Last, because their errors are in the log that the scenario searches.
            step("broken", "Releases that are broken, under traffic")
            broken_release.play(
                deployed.stack,
                client,
                folder / "agents",
                show,
                deploy_broken_migration=partial(_fail_to_migrate, deployed),
            )


@contextlib.contextmanager
def _emulator(folder: Path) -> Generator[Emulator]:
    """Find the emulator in the environment, or run ministack."""
    step("emulator", "The emulator on LocalStack's port")
    if url := emulator.named(os.environ):
        if not emulator.answers(url):
            raise EmulatorError(f"Nothing answers like LocalStack on {url}.\nNext: start it, or unset the variable.")
        show(f"{url}, as the environment says")
        yield Emulator(url=url)
        return
    with emulator.running(folder) as running:
        show(f"ministack on {running.url}, its functions on {emulator.runtime()}")
        yield running
    show("the emulator has ended")


def _built() -> Path:
    """Build the template for this machine; return the built one."""
    step("build", "sam build, for this machine's processor and the emulator's Python")
    architecture, runtime = fitting.architecture(), emulator.runtime()
    work = ROOT / ".aws-sam" / "localstack"
    template = fitting.lay_out(ROOT, work / "source", architecture=architecture, runtime=runtime)
    with _timed(f"built for {architecture} and {runtime}; nothing else of template.yaml is changed"):
        return sam.build(template, work)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """A stack that serves."""

    stack: Stack
    origins: edge_proxy.Origins
    since: float
    layer: Path
    """The folder of the built layer."""
    deploy: Callable[[str], None]
    """Deploys what is built as another release."""


@contextlib.contextmanager
def _deployed(account: Account, running: Emulator, built: Path, database_url: str) -> Generator[Deployed]:
    """Deploy the built template with its database, and delete all of it after the block."""
    step("deploy", "sam deploy, twice: the address of a stack is known only after it was created")
    name = f"dispatcher-{secrets.token_hex(3)}"
    cli = Sam(endpoint=running.url, bucket=f"{name}-artifacts", stack=name)
    stack = Stack(account=account, name=name)
    with contextlib.ExitStack() as cleanup:
        account.create_bucket(cli.bucket)
        cleanup.callback(account.delete_bucket, cli.bucket)
        secret = account.create_database_secret(f"{name}-database", database_url)
        cleanup.callback(account.delete_secret, secret)
        show("Secrets Manager has the database's address")
        cleanup.callback(_deleted, stack)  # also the remains of a failed deployment
        with _timed("created"):
            cli.deploy(fitting.as_release(built, "1"), {"DatabaseSecretArn": secret, "Release": "1"})
        with _timed("migrated"):
            stack.invoke("MigrateFunction")
        gateway = f"{running.url}/_aws/execute-api"
        sockets = f"{gateway}/{stack.resource('WebSocketApi')}/live"
        with _timed("updated with the address of its @connections"):
            settings = {"DatabaseSecretArn": secret, "ConnectionsUrl": sockets}

            def deploy(release: str) -> None:
                cli.deploy(fitting.as_release(built, release), {**settings, "Release": release})

            deploy("2")
        origins = edge_proxy.Origins(http=f"{gateway}/{stack.resource('HttpApi')}/$default", sockets=sockets)
        yield Deployed(
            stack=stack,
            origins=origins,
            since=time.time(),
            layer=built.parent / "DispatcherLayer" / "python",
            deploy=deploy,
        )


def _fail_to_migrate(deployed: Deployed) -> str:
    """Deploy a release with a schema file that fails half-way; it is rolled back.  Returns why, as the deployment says it."""
    broken = deployed.layer / "dispatcher" / "schema" / "9001_broken.sql"
    broken.write_text("create table half (id integer);\nselect 1 / 0;\n")
    try:
        with _timed("a release whose migration fails is deployed, and rolled back"), contextlib.suppress(SamError):
            deployed.deploy("3")
    finally:
        broken.unlink()
    said = [reason for reason in deployed.stack.reasons() if broken.name in reason]
    expect(bool(said), f"the deployment says which file failed: {deployed.stack.reasons()}")
    return said[0]


def _deleted(stack: Stack) -> None:
    step("delete", "The stack, its secret, its artifacts")
    with _timed("deleted"):
        stack.delete()


def _logged_in(stack: Stack, url: str) -> Client:
    with _timed(f"logged in as admin on {url}, with the password that CloudFormation generated"):
        return Client.log_in(url, "admin", stack.secret("AdminSecret"))


def _log(deployed: Deployed) -> str:
    return "\n".join(
        line for group in deployed.stack.log_groups() for line in deployed.stack.log(group, since=deployed.since)
    )


@contextlib.contextmanager
def _timed(what: str) -> Generator[None]:
    began = time.monotonic()
    with console.status(f"{what} …"):
        yield
    show(f"{what} [dim]{time.monotonic() - began:.1f} s[/]")


def _interrupted(number: int, _frame: object) -> None:
    raise StepFailed(f"Interrupted by {signal.Signals(number).name}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupted)
    signal.signal(signal.SIGINT, _interrupted)
    try:
        sys.exit(main())
    except subprocess.SubprocessError as error:
        sys.exit(f"✗ {error}")

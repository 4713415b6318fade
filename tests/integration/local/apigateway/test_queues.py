"""The queues of one machine, through real boto3 clients and a real function."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local.apigateway.queue_store import DEDUPLICATION_SECONDS, Draft, QueueFileError, QueueStore
from tests.integration.local.apigateway.serving import gateway_in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from local.credentials import Credentials

ROOT = Path(__file__).parents[4]
TEMPLATE = """
Parameters: {Gateway: {Type: String}}
Resources:
  Reports: {Type: AWS::SQS::Queue, Properties: {FifoQueue: true}}
  Settle:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: .
      Handler: settle.handler
      Timeout: 10
      Events:
        Waiting:
          Type: SQS
          Properties: {Queue: !GetAtt Reports.Arn, BatchSize: 10, FunctionResponseTypes: [ReportBatchItemFailures]}
"""
CODE = """
import json, pathlib, time

def handler(event, context):
    records = event["Records"]
    print(json.dumps({"begin": records}), flush=True)
    folder = pathlib.Path(__file__).parent
    while (folder / "hold").exists() and records[0]["body"] == "hold":
        time.sleep(0.01)
    if (folder / "raise").exists():
        raise RuntimeError("not now")
    refused = (folder / "refuse").read_text() if (folder / "refuse").exists() else None
    failures = [{"itemIdentifier": each["messageId"]} for each in records if each["body"] == refused]
    print(json.dumps({"end": [each["body"] for each in records]}), flush=True)
    return {"batchItemFailures": failures}
"""


@dataclass(frozen=True, kw_only=True)
class Served:
    """A queue whose function obeys files in `folder`, and what that function printed."""

    url: str
    credentials: Credentials
    folder: Path
    lines: list[str] = field(default_factory=list[str])

    @cached_property
    def client(self) -> Any:
        """A client as functions have one."""
        return boto3.client(
            "sqs",
            endpoint_url=f"{self.url}/sqs",
            region_name="us-east-1",
            aws_access_key_id=self.credentials.key_id,
            aws_secret_access_key=self.credentials.secret,
            config=Config(retries={"total_max_attempts": 1}),
        )

    def send(self, body: str, group: str = "a", name: str = "", **more: str) -> Any:
        """Send a message; its deduplication id is its body unless `name` gives another one."""
        return self.client.send_message(
            **{
                "QueueUrl": f"{self.url}/000000000000/Reports.fifo",
                "MessageBody": body,
                "MessageGroupId": group,
                "MessageDeduplicationId": name or body,
                **more,
            }
        )

    def batches(self) -> list[list[dict[str, Any]]]:
        """Return the records of each invocation so far."""
        return [line["begin"] for line in map(json.loads, self._json()) if "begin" in line]

    def bodies(self) -> list[str]:
        """Return the bodies of all records of all invocations so far."""
        return [record["body"] for batch in self.batches() for record in batch]

    def ended(self) -> list[list[str]]:
        """Return the bodies of each invocation that has returned so far."""
        return [line["end"] for line in map(json.loads, self._json()) if "end" in line]

    def _json(self) -> list[str]:
        return [line for line in list(self.lines) if line.startswith("{")]


@contextlib.contextmanager
def serving(folder: Path) -> Generator[Served]:
    """Serve the queue, its messages in a file of the folder."""
    (folder / "template.yaml").write_text(TEMPLATE)
    (folder / "settle.py").write_text(CODE)
    lines: list[str] = []
    with gateway_in_thread(
        folder / "template.yaml", log=lambda _name, line: lines.append(line), queue_file=folder / "queues.sqlite"
    ) as running:
        yield Served(url=running.url, credentials=running.credentials, folder=folder, lines=lines)


@pytest.fixture
def served(tmp_path: Path) -> Generator[Served]:
    """A running queue."""
    with serving(tmp_path) as running:
        yield running


def until(holds: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_message_reaches_the_function_as_sqs_would_give_it(served: Served) -> None:
    """With the ids that the sender got."""
    sent = served.send('{"text": "é"}', group="agent-1", name="first")
    until(served.ended)

    [[record]] = served.batches()
    assert record.pop("receiptHandle")
    assert int(record["attributes"].pop("SentTimestamp")) == pytest.approx(time.time() * 1000, abs=60_000)
    assert record == {
        "messageId": sent["MessageId"],
        "body": '{"text": "é"}',
        "attributes": {
            "ApproximateReceiveCount": "1",
            "MessageDeduplicationId": "first",
            "MessageGroupId": "agent-1",
            "SequenceNumber": sent["SequenceNumber"],
        },
        "messageAttributes": {},
        "md5OfBody": sent["MD5OfMessageBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:Reports.fifo",
        "awsRegion": "us-east-1",
    }


def test_a_group_waits_for_its_earlier_messages_and_other_groups_do_not(served: Served) -> None:
    """What comes meanwhile is one batch, in order."""
    (served.folder / "hold").touch()
    served.send("hold")
    until(served.batches)
    for number in range(12):
        served.send(f"later-{number}")
    served.send("other", group="b")
    until(lambda: ["other"] in served.ended())
    assert served.bodies() == ["hold", "other"]

    (served.folder / "hold").unlink()
    until(lambda: len(served.ended()) == 4)

    later = [f"later-{number}" for number in range(12)]
    assert served.ended() == [["other"], ["hold"], later[:10], later[10:]]


def test_a_failed_batch_comes_again_until_it_succeeds(served: Served) -> None:
    """The record counts how often it came."""
    (served.folder / "raise").touch()
    served.send("report")
    until(lambda: len(served.batches()) == 2)
    (served.folder / "raise").unlink()
    until(served.ended)

    counts = [batch[0]["attributes"]["ApproximateReceiveCount"] for batch in served.batches()]
    assert counts == ["1", "2", "3"][: len(counts)]
    assert served.ended() == [["report"]]


def test_from_the_first_failed_message_on_all_of_its_group_come_again(served: Served) -> None:
    """What was before it is done; what is after it keeps its place."""
    (served.folder / "hold").touch()
    (served.folder / "refuse").write_text("two")
    served.send("hold")
    until(served.batches)
    for body in ("one", "two", "three"):
        served.send(body)
    (served.folder / "hold").unlink()
    until(lambda: ["two", "three"] in served.ended())
    (served.folder / "refuse").unlink()
    until(lambda: served.ended().count(["two", "three"]) >= 2)

    assert served.ended()[:3] == [["hold"], ["one", "two", "three"], ["two", "three"]]


def test_a_deduplication_id_is_accepted_once(served: Served) -> None:
    """The second sender gets the receipt of the first, also after the message was handled."""
    first = served.send("text", name="same")
    until(served.ended)

    second = served.send("text", name="same")
    served.send("end")
    until(lambda: ["end"] in served.ended())

    assert (second["MessageId"], second["SequenceNumber"]) == (first["MessageId"], first["SequenceNumber"])
    assert served.bodies() == ["text", "end"]


def test_many_senders_at_a_time_lose_nothing(served: Served) -> None:
    """They share the transactions; each group keeps its order."""

    def send(group: str) -> None:
        for number in range(20):
            served.send(f"{group}.{number}", group=group)

    threads = [threading.Thread(target=send, args=(f"group-{number}",)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: sum(map(len, served.ended())) == 100)

    for number in range(5):
        group = [body for body in served.bodies() if body.startswith(f"group-{number}.")]
        assert group == [f"group-{number}.{place}" for place in range(20)]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"QueueUrl": "http://127.0.0.1/000000000000/Nobody.fifo"}, "QueueDoesNotExist"),
        ({"MessageBody": "\x00"}, "InvalidMessageContents"),
        ({"MessageBody": "x" * (1024 * 1024 + 1)}, "InvalidParameterValue"),
        ({"MessageGroupId": "two words"}, "InvalidParameterValue"),
        ({"MessageDeduplicationId": "x" * 129}, "InvalidParameterValue"),
    ],
)
def test_what_sqs_would_refuse_is_refused(served: Served, change: dict[str, str], code: str) -> None:
    """So that the mistake shows on one machine already."""
    with pytest.raises(ClientError) as refused:
        served.send("text", **change)

    response: dict[str, Any] = {**refused.value.response}
    assert code in (response["Error"]["Code"], response["Error"].get("QueryErrorCode"))
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_messages_wait_for_the_next_run(tmp_path: Path) -> None:
    """What failed in this run is handled in the next one."""
    (tmp_path / "raise").touch()
    with serving(tmp_path) as first:
        first.send("one")
        first.send("two")
        until(first.batches)
    (tmp_path / "raise").unlink()

    with serving(tmp_path) as second:
        until(second.ended)

    assert second.ended() == [["one", "two"]]
    assert (tmp_path / "queues.sqlite").stat().st_mode & 0o777 == 0o600


def test_an_accepted_message_survives_kill_9(tmp_path: Path) -> None:
    """It is on the disk before the sender has its receipt."""
    program = (
        "import os, sys; from pathlib import Path; from local.apigateway.queue_store import Draft, QueueStore\n"
        "draft = Draft(queue='q', group_id='g', deduplication_id='d', scope='', body='text')\n"
        "print(QueueStore(Path(sys.argv[1])).append([draft])[0].message_id, flush=True); os.kill(os.getpid(), 9)"
    )
    file = tmp_path / "queues.sqlite"
    command = [sys.executable, "-c", program, str(file)]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    store = QueueStore(file)

    assert killed.returncode == -9
    assert [message.message_id for message in store.first("q", "g", 10)] == killed.stdout.split()
    store.close()


def test_a_deduplication_id_is_forgotten_after_five_minutes() -> None:
    """And within them its scope counts."""
    store = QueueStore(None)
    draft = Draft(queue="q", group_id="g", deduplication_id="d", scope="g", body="text")
    other = Draft(queue="q", group_id="h", deduplication_id="d", scope="h", body="text")

    receipts = [
        store.append([each], now=now)[0].sequence
        for each, now in (
            (draft, 1000.0),
            (other, 1000.0),
            (draft, 1000.0 + DEDUPLICATION_SECONDS - 1),
            (draft, 1000.0 + DEDUPLICATION_SECONDS + 1),
        )
    ]

    assert receipts == [1, 2, 1, 3]


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    """With the next step."""
    (tmp_path / "queues.sqlite").write_text("no database" * 100)

    with pytest.raises(QueueFileError, match=r"queues.sqlite cannot be used: .*\nNext: "):
        QueueStore(tmp_path / "queues.sqlite")

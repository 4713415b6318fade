"""Webhooks over HTTP: who may manage which, what is shown, and what is refused."""

import json
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier

from dispatcher.access.roles import Role
from dispatcher.platform.database import Connection
from dispatcher.webhooks import trial, webhook_queue, webhook_records
from dispatcher.webhooks.invocation import Batch
from dispatcher.webhooks.sending import Outcome
from tests.integration.functions.events import Run, as_bearer, ask, token_of
from tests.rows import create_operator

WEBHOOKS = "/api/v1/webhooks"
NEW = {"url": "https://receiver.example/hooks/the-secret-of-the-path", "types": ["command.completed"]}
EU, US = {"region": "eu"}, {"region": "us"}


def make(run: Run, **options: Any) -> dict[str, Any]:
    """Make a webhook."""
    status, made = ask(run, "webhooks", "POST", WEBHOOKS, NEW, **options)
    assert status == 201, made
    return dict(made)


def test_a_secret_is_shown_once_and_stored_nowhere(run: Run, conn: Connection) -> None:
    """Neither in lists nor in the audit log nor in a table; nor is the path of the URL in the audit log."""
    made = make(run)
    own = f"{WEBHOOKS}/{made['webhookId']}"
    _, renewed = ask(run, "webhooks", "POST", f"{own}/secret", {"overlapSeconds": 60})

    secrets = [made["secret"], renewed["secret"]]
    answers = [ask(run, "webhooks", "GET", path)[1] for path in (WEBHOOKS, own)]
    rows = conn.execute("select to_jsonb(w)::text from webhooks w").fetchall()
    entries = conn.execute("select detail::text from audit_log").fetchall()

    assert all(secret.startswith("whsec_") for secret in secrets)
    assert len(set(secrets)) == 2
    for text in (json.dumps(answers), str(rows), str(entries)):
        assert not any(secret.removeprefix("whsec_") in text for secret in secrets)
    assert "the-secret-of-the-path" not in str(entries)
    assert answers[1]["oldSecretUntil"] is not None


def test_a_webhook_is_made_read_changed_and_deleted(run: Run, conn: Connection) -> None:
    """Each change is in the audit log."""
    made = make(run)
    own = f"{WEBHOOKS}/{made['webhookId']}"
    patch = {"types": None, "selector": "env in (prod)", "description": "the pager", "enabled": False}

    status, changed = ask(run, "webhooks", "PATCH", own, patch, content_type="application/merge-patch+json")
    listed = ask(run, "webhooks", "GET", WEBHOOKS)[1]
    again = ask(run, "webhooks", "PATCH", own, {"enabled": True, "selector": None})[1]
    deleted = ask(run, "webhooks", "DELETE", own)[0]

    assert status == 200
    assert (changed["types"], changed["selector"], changed["description"]) == (None, "env in (prod)", "the pager")
    assert (changed["enabled"], changed["disabledCause"]) == (False, "operator")
    assert listed == {"webhooks": [changed], "nextCursor": None}
    assert (again["enabled"], again["disabledReason"], again["selector"]) == (True, None, None)
    assert deleted == 204
    assert ask(run, "webhooks", "GET", own)[0] == 404
    audited = [row[0] for row in conn.execute("select action from audit_log order by audit_id").fetchall()]
    assert audited == ["make webhook", "change webhook", "change webhook", "delete webhook"]


@pytest.mark.parametrize(
    "wrong",
    [
        *(
            {"url": url}
            for url in ("http://receiver.example/", "https://127.0.0.1/", "https://[::1]/", "x", "", None, 1)
        ),
        *({"types": types} for types in ([], ["command.done"], "command.completed", [1])),
        *({"selector": "env in (a"}, {"description": "a\nb"}, {"unknown": 1}, {"secret": "whsec_own"}),
    ],
    ids=str,
)
def test_a_webhook_that_could_not_work_is_refused(run: Run, wrong: dict[str, Any]) -> None:
    """422 names the place; the same holds for a change."""
    made = make(run)

    status, problem = ask(run, "webhooks", "POST", WEBHOOKS, NEW | wrong)
    changed, _ = ask(run, "webhooks", "PATCH", f"{WEBHOOKS}/{made['webhookId']}", wrong)

    assert (status, changed) == (422, 422)
    assert problem["errors"][0]["at"].startswith("body")


def test_http_and_private_addresses_are_allowed_on_one_machine(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a setting of the service."""
    monkeypatch.setenv("WEBHOOKS_PRIVATE", "1")

    assert ask(run, "webhooks", "POST", WEBHOOKS, {"url": "http://127.0.0.1:9000/"})[0] == 201


def test_a_limited_admin_manages_only_webhooks_that_tell_of_their_agents(run: Run, conn: Connection) -> None:
    """What another admin made, who sees more or other agents, is not found."""
    limits: dict[str, dict[str, str] | None] = {"eu": EU, "all": None, "us": US}
    for name, labels in limits.items():
        create_operator(conn, name, name, Role.ADMIN, labels)
    by = {name: {"role": None, **as_bearer(token_of(name))} for name in limits}
    theirs, everybodys, others = (make(run, **by[name]) for name in limits)

    _, listed = ask(run, "webhooks", "GET", WEBHOOKS, **by["eu"])

    assert [each["webhookId"] for each in listed["webhooks"]] == [theirs["webhookId"]]
    assert theirs["labels"] == EU
    for hidden in (everybodys, others):
        own = f"{WEBHOOKS}/{hidden['webhookId']}"
        for method, path in (
            ("GET", own),
            ("PATCH", own),
            ("DELETE", own),
            ("POST", f"{own}/secret"),
            ("POST", f"{own}/test"),
            ("GET", f"{own}/deliveries"),
        ):
            body = {"url": "https://thief.example/"} if method == "PATCH" else None
            assert ask(run, "webhooks", method, path, body, **by["eu"])[0] == 404, path


def test_a_webhook_that_an_api_token_made_or_changed_ends_with_it(run: Run, conn: Connection) -> None:
    """A stolen token that is revoked tells nobody of anything any more."""
    make(run)  # creates the operator
    bearer = as_bearer(token_of("the-admin"))
    _, token = ask(run, "operators", "POST", "/api/v1/tokens", {"name": "ci", "role": "admin"}, role=None, **bearer)
    by_token = as_bearer(token["token"])

    status, made = ask(run, "webhooks", "POST", WEBHOOKS, NEW, role=None, **by_token)
    ask(run, "operators", "DELETE", f"/api/v1/tokens/{token['tokenId']}", role=None, **bearer)
    webhook_queue.disable_without_rights(conn)

    assert status == 201
    assert made["expiresAt"] == token["expiresAt"]
    causes: dict[str, str | None] = dict(
        conn.execute("select webhook_id::text, disabled_cause from webhooks").fetchall()
    )
    assert causes[made["webhookId"]] == "rights"
    assert sorted(map(str, causes.values())) == ["None", "rights"]


def test_there_is_a_most_of_webhooks(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them is looked at each second."""
    monkeypatch.setattr(webhook_records, "MOST", 1)
    make(run)

    assert ask(run, "webhooks", "POST", WEBHOOKS, NEW)[0] == 409


def test_a_test_call_says_what_came_of_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signed like every message, also for a webhook that is disabled; the delivery log has it."""
    made = make(run)
    own = f"{WEBHOOKS}/{made['webhookId']}"
    ask(run, "webhooks", "PATCH", own, {"enabled": False})
    sent: list[Batch] = []

    def sender(batch: Batch, *, seconds: float) -> list[Outcome]:
        del seconds
        sent.append(batch)
        return [Outcome(status=500, error="it answered 500", milliseconds=7)]

    monkeypatch.setattr(trial, "invoke_webhook", sender)
    status, outcome = ask(run, "webhooks", "POST", f"{own}/test")
    _, log = ask(run, "webhooks", "GET", f"{own}/deliveries")

    [batch] = sent
    [message] = batch.messages
    headers = {
        "webhook-id": message.message_id,
        "webhook-timestamp": str(message.timestamp),
        "webhook-signature": message.signature,
    }
    assert Verifier(made["secret"]).verify(message.body, headers)["type"] == "webhook.test"
    assert (status, outcome["delivered"], outcome["status"], outcome["error"]) == (200, False, 500, "it answered 500")
    [entry] = log["deliveries"]
    assert (entry["messageId"], entry["type"], entry["eventId"]) == (outcome["messageId"], "webhook.test", None)


def test_a_sender_that_cannot_be_reached_is_a_503(run: Run) -> None:
    """It says nothing about the receiver."""
    assert ask(run, "webhooks", "POST", f"{WEBHOOKS}/{make(run)['webhookId']}/test")[0] == 503

"""Templates: stored, listed, deleted, and sent with the start of a session."""

import json
from typing import Any

import pytest

from dispatcher.access.roles import Role
from dispatcher.platform.database import Connection
from tests.fakes import FakeGateway
from tests.integration.functions.events import AGENT, Run, ask, request
from tests.rows import connect, connect_new_agent

TEMPLATES = "/api/v1/templates"
SESSIONS = "/api/v1/sessions"
CODE: dict[str, Any] = {
    "apiVersion": "stream.space/v1alpha1",
    "kind": "Template",
    "metadata": {"name": "code", "namespace": "workspaces", "annotations": {"kept": "yes"}},
    "spec": {
        "displayName": "Code",
        "baseImage": "example/code:1",
        "ports": [
            {"name": "http", "containerPort": 8080, "protocol": "TCP"},
            {"name": "debug", "containerPort": 9229, "protocol": "UDP", "appProtocol": "kept"},
        ],
        "env": [{"name": "TZ", "value": "UTC"}],
        "volumeMounts": [{"name": "home", "mountPath": "/config"}],
        "kasmvnc": {"enabled": False, "port": 8080},
        "capabilities": ["Network"],
        "unknownMember": {"isKept": [1, 2.5, None]},
    },
}


def put(run: Run, manifest: Any, name: str = "code", **options: Any) -> tuple[int, Any]:
    """Store a template."""
    return ask(run, "sessions", "PUT", f"{TEMPLATES}/{name}", manifest, **options)


def started_payload(gateway: FakeGateway) -> dict[str, Any]:
    """Return the payload of the start that an agent got."""
    payload: dict[str, Any] = gateway.messages[-1]["payload"]["payload"]
    return payload


def changed(**spec: Any) -> dict[str, Any]:
    """Return the manifest with other members in its spec."""
    return {**CODE, "spec": {**CODE["spec"], **spec}}


def test_a_template_is_read_as_it_was_stored(run: Run, conn: Connection) -> None:
    """Members that nobody knows are kept, and integers stay integers."""
    created = put(run, CODE)
    again = put(run, CODE)
    read = ask(run, "sessions", "GET", f"{TEMPLATES}/code", role=Role.READER)
    deleted = [ask(run, "sessions", "DELETE", f"{TEMPLATES}/code")[0] for _ in range(2)]
    gone = ask(run, "sessions", "GET", f"{TEMPLATES}/code")

    assert (created, again, read) == ((201, CODE), (200, CODE), (200, CODE))
    assert '"containerPort": 8080}' in json.dumps(read[1])
    assert (deleted, gone[0]) == ([204, 404], 404)
    entries = conn.execute("select action, detail ->> 'template' from audit_log order by audit_id").fetchall()
    assert entries == [("put template", "code"), ("put template", "code"), ("delete template", "code")]


def test_the_list_has_pages(run: Run) -> None:
    """The template of the bug report is there from the start."""
    for name in ("a", "b"):
        put(run, {**CODE, "metadata": {"name": name}}, name)

    _, first = ask(run, "sessions", "GET", f"{TEMPLATES}?limit=2")
    _, second = ask(run, "sessions", "GET", f"{TEMPLATES}?limit=2&cursor={first['nextCursor']}")

    assert [each["metadata"]["name"] for each in first["templates"]] == ["a", "b"]
    assert [each["metadata"]["name"] for each in second["templates"]] == ["firefox-browser"]
    assert second["nextCursor"] is None


def test_a_page_of_large_templates_ends_earlier(run: Run, conn: Connection) -> None:
    """An answer of a function has at most 6 MB."""
    put(run, changed(icon="x" * 60_000))
    conn.execute(
        """insert into session_templates (name, manifest)
           select 'large-' || number, manifest from session_templates, generate_series(1, 150) as number where name = 'code'"""
    )
    seen, cursor, largest = 0, "", 0
    while cursor is not None:
        _, page = ask(run, "sessions", "GET", f"{TEMPLATES}?limit=200" + (f"&cursor={cursor}" if cursor else ""))
        seen, cursor, largest = seen + len(page["templates"]), page["nextCursor"], max(largest, len(json.dumps(page)))

    assert seen == 152
    assert largest < 3_000_000


@pytest.mark.parametrize(
    ("manifest", "place"),
    [
        ({**CODE, "kind": "Session"}, "body/kind"),
        ({**CODE, "metadata": {"name": "other"}}, "body/metadata/name"),
        ({**CODE, "metadata": {}}, "body/metadata/name"),
        ({name: part for name, part in CODE.items() if name != "apiVersion"}, "body/apiVersion"),
        (changed(baseImage=""), "body/spec/baseImage"),
        (changed(ports=[{"name": "vnc", "containerPort": "3000"}]), "body/spec/ports/0/containerPort"),
        (changed(ports=[{"name": "vnc", "containerPort": 0}]), "body/spec/ports/0/containerPort"),
        (changed(ports=[{"name": "Vnc", "containerPort": 1}]), "body/spec/ports/0/name"),
        (changed(env=[{"name": "PUID", "value": 1000}]), "body/spec/env/0/value"),
        (changed(volumeMounts=[{"name": "home", "mountPath": "config"}]), "body/spec/volumeMounts/0/mountPath"),
        (changed(kasmvnc={"enabled": "yes"}), "body/spec/kasmvnc/enabled"),
    ],
)
def test_a_manifest_that_agents_would_misread_is_refused(run: Run, manifest: Any, place: str) -> None:
    """The answer names the place; the same holds for a manifest that comes with a start."""
    status, problem = put(run, manifest)

    assert status == 422
    assert problem["detail"].startswith(place)


def test_a_port_without_a_protocol_gets_tcp(run: Run) -> None:
    """Kubernetes assumes it, Docker does not."""
    _, stored = put(run, changed(ports=[{"name": "vnc", "containerPort": 3000}]))

    assert stored["spec"]["ports"] == [{"name": "vnc", "containerPort": 3000, "protocol": "TCP"}]


def test_a_manifest_of_more_than_64_kb_is_refused(run: Run) -> None:
    """It would leave no room for the rest of the command."""
    status, problem = put(run, changed(icon="x" * 65_536))

    assert status == 413
    assert problem["type"].rpartition(":")[2] == "template-too-large"
    # Spaces between its members do not count.
    assert put(run, None, raw=json.dumps(changed(icon="x" * 63_000)) + " " * 40_000)[0] == 201


def test_numbers_in_a_manifest_keep_their_digits(run: Run) -> None:
    """Agents of other languages read more of them than Python's float has."""
    digits = "0.12345678901234567890"
    raw = json.dumps(CODE).replace("2.5", digits)

    answers = [
        run("sessions", request("PUT", f"{TEMPLATES}/code", raw=raw)),
        run("sessions", request("GET", f"{TEMPLATES}/code")),
        run("sessions", request("GET", TEMPLATES)),
    ]

    assert [answer["statusCode"] for answer in answers] == [201, 200, 200]
    assert all(digits in answer["body"] for answer in answers)
    assert {answer["headers"]["Content-Type"] for answer in answers} == {"application/json"}


def test_only_an_admin_without_a_label_limit_changes_templates(run: Run) -> None:
    """Every agent gets them; everybody may read them."""
    refused = [
        put(run, CODE, role=Role.SENDER),
        put(run, CODE, labels={"region": "eu"}),
        ask(run, "sessions", "DELETE", f"{TEMPLATES}/firefox-browser", role=Role.SENDER),
        ask(run, "sessions", "DELETE", f"{TEMPLATES}/firefox-browser", labels={"region": "eu"}),
    ]

    assert [status for status, _ in refused] == [403] * 4
    assert ask(run, "sessions", "GET", TEMPLATES, role=Role.READER, labels={"region": "eu"})[0] == 200


@pytest.mark.parametrize("platform", ["docker", "kubernetes"])
def test_a_start_carries_the_manifest_of_its_template(
    run: Run, conn: Connection, gateway: FakeGateway, platform: str
) -> None:
    """The bug report's own request, on a fresh service."""
    connect_new_agent(conn, AGENT, platform=platform)
    body = {
        "user": "admin",
        "template": "firefox-browser",
        "resources": {"memory": "512Mi", "cpu": "250m"},
        "persistentHome": False,
    }

    status, session = ask(run, "sessions", "POST", SESSIONS, body)

    payload = started_payload(gateway)
    _, manifest = ask(run, "sessions", "GET", f"{TEMPLATES}/firefox-browser")
    assert (status, session["state"]) == (201, "pending")
    assert payload["templateManifest"] == manifest
    assert manifest["spec"]["ports"] == [{"name": "vnc", "containerPort": 3000, "protocol": "TCP"}]
    assert (payload["memory"], payload["resources"]["memory"]) == ("512Mi", "512Mi")


@pytest.mark.usefixtures("agent")
def test_a_start_can_bring_its_own_manifest(run: Run, conn: Connection, gateway: FakeGateway) -> None:
    """It is not stored as a template."""
    connect(conn, AGENT)
    body = {"user": "ann", "template": "code", "templateManifest": CODE}

    status, _ = ask(run, "sessions", "POST", SESSIONS, body)
    misread = ask(run, "sessions", "POST", SESSIONS, {**body, "templateManifest": changed(ports=[{"name": "x"}])})
    large = ask(run, "sessions", "POST", SESSIONS, {**body, "templateManifest": changed(icon="x" * 65_536)})

    assert status == 201
    assert started_payload(gateway)["templateManifest"] == CODE
    assert (misread[0], large[0]) == (422, 413)
    assert ask(run, "sessions", "GET", f"{TEMPLATES}/code")[0] == 404


@pytest.mark.usefixtures("agent")
def test_an_unknown_template_is_refused_with_what_to_do(run: Run, conn: Connection) -> None:
    """A built-in template that was deleted is unknown too.  Nothing is stored."""
    ask(run, "sessions", "DELETE", f"{TEMPLATES}/firefox-browser")

    status, problem = ask(run, "sessions", "POST", SESSIONS, {"user": "ann", "template": "firefox-browser"})

    assert status == 422
    assert problem["type"].rpartition(":")[2] == "no-template"
    assert "PUT /api/v1/templates/firefox-browser" in problem["detail"]
    assert "`templateManifest`" in problem["detail"]
    assert conn.execute("select (select count(*) from sessions), (select count(*) from agent_commands)").fetchone() == (
        0,
        0,
    )


def test_an_agent_that_is_not_streamspaces_needs_no_template(run: Run, conn: Connection, gateway: FakeGateway) -> None:
    """It knows itself what its templates are."""
    connect_new_agent(conn, AGENT, platform="edge")

    status, _ = ask(run, "sessions", "POST", SESSIONS, {"user": "ann", "template": "its-own"})

    assert status == 201
    assert "templateManifest" not in started_payload(gateway)


@pytest.mark.usefixtures("agent")
def test_a_repeated_start_means_the_template_as_it_was(run: Run, conn: Connection) -> None:
    """The template was changed, then deleted, between the request and its repetition."""
    put(run, CODE)
    body = {"user": "ann", "template": "code"}
    first = ask(run, "sessions", "POST", SESSIONS, body, idempotency_key="k1")
    put(run, changed(baseImage="example/code:2"))
    second = ask(run, "sessions", "POST", SESSIONS, body, idempotency_key="k1")
    ask(run, "sessions", "DELETE", f"{TEMPLATES}/code")
    third = ask(run, "sessions", "POST", SESSIONS, body, idempotency_key="k1")
    other = ask(
        run, "sessions", "POST", SESSIONS, {**body, "templateManifest": changed(baseImage="x")}, idempotency_key="k1"
    )

    assert first == second == third
    assert other[0] == 409
    assert conn.execute("select count(*) from agent_commands").fetchone() == (1,)

"""The way to a database on AWS: its address, its certificate, its log-ins."""

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import botocore.session
import psycopg
import pytest
from cryptography import x509
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from dispatcher.platform import database, migrations, rds, settings
from dispatcher.platform.database import Connection, open_connection
from local.tools.certificates import common_name
from tests.rows import provide, put, statuses
from tests.secrets_manager import SecretsManager, secrets_manager

REGIONS = ("eu-central-1", "eu-west-1", "us-east-1", "us-east-2", "us-west-2", "ap-southeast-2")
NASTY = "p@ss:w/o?r#d%&=' é"


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Iterator[SecretsManager]:
    """Secrets Manager, and a function that starts cold and has only a secret to go by."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setattr(database, "_kept", None)
    with secrets_manager(monkeypatch) as manager:
        yield manager
    if database._kept is not None:  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        database._kept.close()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    ("host", "sslmode"),
    [
        ("acd.cluster-abc.eu-central-1.rds.amazonaws.com", "verify-full"),
        ("10.64.0.7", "verify-full"),
        ("127.0.0.1", "prefer"),
        ("localhost", "prefer"),
    ],
)
def test_the_servers_certificate_and_name_are_verified_unless_it_is_this_machine(host: str, sslmode: str) -> None:
    """Nobody has to ask for it; whatever a password holds, it arrives."""
    url = rds.url(host=host, user="o'wner", password=NASTY)

    read = conninfo_to_dict(url)
    assert (read["host"], read["user"], read["password"]) == (host, "o'wner", NASTY)
    assert read["sslmode"] == sslmode
    assert (read.get("sslrootcert") == str(rds.CERTIFICATES)) == (sslmode == "verify-full")


def test_the_secret_may_say_otherwise() -> None:
    """A database with a certificate of its own, in a network of its own."""
    assert conninfo_to_dict(rds.url(host="db", user="u", password="p", sslmode="require"))["sslmode"] == "require"


# Starfield's root has the serial number 0, which cryptography finds fault with, and libpq does not.
@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_the_roots_of_rds_and_of_its_proxy_are_shipped() -> None:
    """One of each kind of key a region, and Amazon's own; none has expired or is near to it."""
    roots = x509.load_pem_x509_certificates(rds.CERTIFICATES.read_bytes())
    names = {common_name(root) for root in roots}

    assert {f"Amazon RDS {region} Root CA {kind} G1" for region in REGIONS for kind in ("RSA2048", "ECC384")} <= names
    assert {f"Amazon Root CA {number}" for number in (1, 2, 3, 4)} <= names
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(days=365)
    assert all(root.not_valid_after_utc > soon and root.subject == root.issuer for root in roots)


def test_a_login_is_signed_as_boto3_signs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same request, the same scope, the same life; only the moment, and so the signature, may differ."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token/+=")
    host = "acd.cluster-abc.eu-central-1.rds.amazonaws.com"

    ours = urlsplit("https://" + rds.login_token(host, 5432, "dispatcher"))
    client: Any = botocore.session.get_session().create_client("rds")
    signed: str = client.generate_db_auth_token(host, 5432, "dispatcher")
    theirs = urlsplit("https://" + signed)

    differing = {"X-Amz-Date", "X-Amz-Signature"}
    assert (ours.netloc, ours.path) == (theirs.netloc, theirs.path)
    mine, yours = parse_qs(str(ours.query)), parse_qs(str(theirs.query))
    assert mine.keys() == yours.keys()
    assert {name: mine[name] for name in mine.keys() - differing} == {
        name: yours[name] for name in yours.keys() - differing
    }


def test_a_function_of_the_own_database_logs_in_with_iam(monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret is read, and the token is the password."""
    for name, value in {
        "DATABASE_URL": "",
        "DATABASE_SECRET_ARN": "",
        "DATABASE_HOST": "acd.cluster-abc.eu-central-1.rds.amazonaws.com",
        "DATABASE_ROLE": "dispatcher",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }.items():
        monkeypatch.setenv(name, value)

    read = conninfo_to_dict(settings.database_url())

    assert (read["user"], read["dbname"], read["sslmode"]) == ("dispatcher", "dispatcher", "verify-full")
    token = str(read["password"])
    assert ("Action=connect" in token, "DBUser=dispatcher" in token) == (True, True)


def test_the_owners_secret_of_rds_names_no_host(secrets: SecretsManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """RDS keeps only the name and the password there."""
    secret = {"username": "dispatcher_owner", "password": NASTY}
    monkeypatch.setenv("DATABASE_SECRET_ARN", secrets.put("db", json.dumps(secret)))
    monkeypatch.setenv("DATABASE_HOST", "acd.cluster-abc.eu-central-1.rds.amazonaws.com")

    read = conninfo_to_dict(settings.database_url())

    assert (read["user"], read["password"], read["dbname"]) == ("dispatcher_owner", NASTY, "dispatcher")


def test_a_password_that_was_rotated_is_read_again(
    secrets: SecretsManager, database_url: str, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old one is in the cache for five minutes, in which nobody could log in."""
    url = urlsplit(database_url)
    role = "rotated_" + url.path[1:]
    known = {"host": "127.0.0.1", "port": url.port, "dbname": url.path[1:], "username": role}
    conn.execute(sql.SQL("create role {} login password 'first'").format(sql.Identifier(role)))
    try:
        monkeypatch.setenv("DATABASE_SECRET_ARN", secrets.put("db", json.dumps(known | {"password": "first"})))
        with database.connect() as first:
            pid = first.info.backend_pid
        conn.execute(
            sql.SQL("alter role {0} password 'second'; grant {0} to current_user").format(sql.Identifier(role))
        )
        secrets.put("db", json.dumps(known | {"password": "second"}))
        conn.execute("select pg_terminate_backend(%s, 1000)", (pid,))

        with database.connect() as second:
            assert second.execute("select current_user").fetchone() == (role,)
    finally:
        if database._kept is not None:  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            database._kept.close()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        conn.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))


def test_a_log_in_with_iam_that_fails_is_not_tried_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is signed anew and looks like another one; a database that is down would be waited for twice."""
    tried: list[str] = []

    def refuse(url: str) -> Connection:
        tried.append(url)
        raise psycopg.OperationalError

    for variable, value in {
        "DATABASE_ROLE": "dispatcher",
        "DATABASE_HOST": "acd.cluster-abc.eu-central-1.rds.amazonaws.com",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("DATABASE_SECRET_ARN", raising=False)
    monkeypatch.setattr(database, "open_connection", refuse)
    monkeypatch.setattr(database, "_kept", None)

    with pytest.raises(psycopg.OperationalError), database.connect():
        pass

    assert len(tried) == 1


def test_a_role_that_is_admitted_works_on_rows_and_changes_nothing_else(database_url: str, conn: Connection) -> None:
    """What an attacker has who takes over a function: no schema, no audit log to rewrite, no other role."""
    url = urlsplit(database_url)
    role = "admitted_" + url.path[1:]
    name = sql.Identifier(role)
    granted = conn.execute("select from pg_roles where rolname = 'rds_iam'").fetchone() is None
    if granted:
        conn.execute("create role rds_iam")
    try:
        migrations.grant_to(conn, role)
        migrations.grant_to(conn, role)
        conn.execute(sql.SQL("alter role {} password 'in place of IAM'").format(name))
        provide(conn)

        password = quote("in place of IAM")
        with open_connection(f"postgresql://{role}:{password}@127.0.0.1:{url.port}{url.path}") as admitted:
            put(admitted, "k1")
            admitted.execute("update agent_commands set priority = 1")
            assert statuses(admitted) == {"k1": "pending"}
            admitted.execute("insert into audit_log (actor, action) values ('a', 'b')")
            assert admitted.execute("show statement_timeout").fetchone() == ("30s",)
            for forbidden in (
                "create table mine (id int)",
                "drop table agents",
                "alter table agents add mine int",
                "update audit_log set actor = 'other'",
                "delete from audit_log",
                "delete from schema_migrations",
                "create role another",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    admitted.execute(forbidden)
    finally:
        conn.execute(sql.SQL("grant {} to current_user").format(name))
        conn.execute(sql.SQL("drop owned by {}").format(name))
        conn.execute(sql.SQL("drop role {}").format(name))
        if granted:
            conn.execute("drop role rds_iam")

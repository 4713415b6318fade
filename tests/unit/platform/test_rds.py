"""Connections to a database on AWS: URL, certificate roots, log-ins."""

import datetime as dt
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import botocore.session
import pytest
from cryptography import x509
from psycopg.conninfo import conninfo_to_dict

from dispatcher.platform import rds, settings
from local.tools.certificates import common_name
from tests.secrets_manager import secrets_manager

REGIONS = ("eu-central-1", "eu-west-1", "us-east-1", "us-east-2", "us-west-2", "ap-southeast-2")
NASTY = "p@ss:w/o?r#d%&=' é"


@pytest.mark.parametrize(
    ("host", "sslmode"),
    [
        ("acd.cluster-abc.eu-central-1.rds.amazonaws.com", "verify-full"),
        ("10.64.0.7", "verify-full"),
        ("127.0.0.1", "prefer"),
        ("localhost", "prefer"),
    ],
)
def test_the_servers_certificate_and_name_are_verified_except_on_this_machine(host: str, sslmode: str) -> None:
    """This is the default; special characters of a password are kept."""
    url = rds.url(host=host, user="o'wner", password=NASTY)

    read = conninfo_to_dict(url)
    assert read["host"] == host
    assert read["user"] == "o'wner"
    assert read["password"] == NASTY
    assert read["sslmode"] == sslmode
    assert (read.get("sslrootcert") == str(rds.CERTIFICATES)) == (sslmode == "verify-full")


def test_the_secret_can_set_another_sslmode() -> None:
    """For an existing database with its own certificate."""
    assert conninfo_to_dict(rds.url(host="db", user="u", password="p", sslmode="require"))["sslmode"] == "require"


# Starfield's root has the serial number 0, which cryptography warns about and libpq accepts.
@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_the_roots_of_rds_and_of_its_proxy_are_shipped() -> None:
    """One root of each kind of key for each region, and Amazon's own; none expires within a year."""
    roots = x509.load_pem_x509_certificates(rds.CERTIFICATES.read_bytes())
    names = {common_name(root) for root in roots}

    assert {f"Amazon RDS {region} Root CA {kind} G1" for region in REGIONS for kind in ("RSA2048", "ECC384")} <= names
    assert {f"Amazon Root CA {number}" for number in (1, 2, 3, 4)} <= names
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(days=365)
    assert all(root.not_valid_after_utc > soon and root.subject == root.issuer for root in roots)


def test_a_login_is_signed_as_boto3_signs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same request, scope and lifetime; only the time, and so the signature, may differ."""
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
    assert ours.netloc == theirs.netloc
    assert ours.path == theirs.path
    mine, yours = parse_qs(str(ours.query)), parse_qs(str(theirs.query))
    assert mine.keys() == yours.keys()
    assert {name: mine[name] for name in mine.keys() - differing} == {
        name: yours[name] for name in yours.keys() - differing
    }


def test_a_function_of_the_own_database_logs_in_with_iam(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads no secret; the token is the password."""
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

    assert read["user"] == "dispatcher"
    assert read["dbname"] == "dispatcher"
    assert read["sslmode"] == "verify-full"
    token = str(read["password"])
    assert "Action=connect" in token
    assert "DBUser=dispatcher" in token


def test_the_owners_secret_of_rds_names_no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """RDS stores only the name and the password in it."""
    secret = {"username": "dispatcher_owner", "password": NASTY}
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("DATABASE_HOST", "acd.cluster-abc.eu-central-1.rds.amazonaws.com")
    with secrets_manager(monkeypatch) as secrets:
        monkeypatch.setenv("DATABASE_SECRET_ARN", secrets.put("db", json.dumps(secret)))

        read = conninfo_to_dict(settings.database_url())

    assert read["user"] == "dispatcher_owner"
    assert read["password"] == NASTY
    assert read["dbname"] == "dispatcher"

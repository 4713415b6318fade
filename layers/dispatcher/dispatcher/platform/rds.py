"""PostgreSQL on AWS: its URL, its certificates, and log-ins with IAM."""

import ipaddress
from pathlib import Path
from urllib.parse import quote, urlencode

import botocore.session
from botocore.model import ServiceId
from botocore.signers import RequestSigner

from dispatcher.errors import Misconfigured

PORT = 5432
DBNAME = "dispatcher"
CERTIFICATES = Path(__file__).with_name("rds.pem")
"""The root certificates of RDS and RDS Proxy (`make certificates`).  libpq's own `system` fails with psycopg's wheel."""
TOKEN_SECONDS = 900
"""How long a token is valid for a log-in; a session that is logged in continues."""


def url(
    *, host: str, user: str, password: str, port: int = PORT, dbname: str = DBNAME, sslmode: str | None = None
) -> str:
    """Return a libpq URL that verifies the server's certificate and name, except on this machine."""
    sslmode = sslmode or ("prefer" if _is_this_machine(host) else "verify-full")
    query = {"sslmode": sslmode}
    if sslmode in ("verify-ca", "verify-full"):
        query["sslrootcert"] = str(CERTIFICATES)
    # A password may contain characters that are special in a URL, and an IAM token is a URL itself.
    who = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return f"postgresql://{who}@{host}:{port}/{quote(dbname, safe='')}?{urlencode(query)}"


def login_token(host: str, port: int, role: str) -> str:
    """Sign a log-in of this role with the function's own credentials: no network call, and no password to rotate.

    It does what boto3's `generate_db_auth_token` does, without the 100 ms that building an RDS client takes.
    """
    session = botocore.session.get_session()
    region = session.get_config_variable("region")
    credentials = session.get_credentials()
    if credentials is None or not region:
        raise Misconfigured("There are no credentials, or no region, to sign a database log-in with.")
    signer = RequestSigner(
        ServiceId("rds-db"), region, "rds-db", "v4", credentials, session.get_component("event_emitter")
    )
    request: dict[str, object] = {
        "method": "GET",
        "url": f"https://{host}:{port}/?{urlencode({'Action': 'connect', 'DBUser': role})}",
        "body": {},
        "headers": {},
        "context": {},
    }
    signed: str = signer.generate_presigned_url(
        request, region_name=region, expires_in=TOKEN_SECONDS, operation_name="connect"
    )
    return signed.removeprefix("https://")


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

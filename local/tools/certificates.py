"""`make certificates`: write the roots that a database on AWS is signed by into the layer.

    python -m local.tools.certificates [--source global-bundle.pem]

The regional roots of RDS come from AWS's own bundle, or from a file with it; those of RDS Proxy, which every trust store has,
from certifi.  Expired and intermediate certificates and those of AWS's previews are left out.
"""

import argparse
import base64
import datetime as dt
import re
import sys
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from dispatcher.platform.rds import CERTIFICATES

SOURCE = "https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem"
REGIONAL = re.compile(r"Amazon RDS (?!Beta|Preview)")
GENERAL = re.compile(r"Amazon Root CA |Starfield Services Root Certificate Authority - G2")
BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----\n.*?\n-----END CERTIFICATE-----", re.DOTALL)


def common_name(certificate: x509.Certificate) -> str:
    """Return a certificate's common name."""
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def chosen(regional: str, general: str, now: dt.datetime) -> list[x509.Certificate]:
    """Choose the roots of RDS and of RDS Proxy that are valid now, each once, by name."""
    found = {
        each.fingerprint(SHA256()): each
        for text, names in ((regional, REGIONAL), (general, GENERAL))
        for each in _certificates(text)
        if names.match(common_name(each)) and each.subject == each.issuer and each.not_valid_after_utc > now
    }
    for each in found.values():
        each.verify_directly_issued_by(each)
    return sorted(found.values(), key=common_name)


def written(certificates: Iterable[x509.Certificate]) -> str:
    """Return the certificates as libpq reads them, each under its name."""
    return "".join(
        f"# {common_name(each)}, until {each.not_valid_after_utc:%Y-%m-%d}\n{each.public_bytes(Encoding.PEM).decode()}"
        for each in certificates
    )


def _certificates(text: str) -> Iterator[x509.Certificate]:
    # Only those with Amazon's names in them are parsed: a trust store has others that the parser warns about.
    for block in BLOCK.findall(text):
        der = base64.b64decode("".join(block.split("\n")[1:-1]))
        if b"Amazon" in der or b"Starfield Services" in der:
            yield x509.load_der_x509_certificate(der)


def main() -> int:
    """Write the file, and print how many roots are in it."""
    parser = argparse.ArgumentParser(description="write the roots that a database on AWS is signed by into the layer")
    parser.add_argument("--source", default=SOURCE, help="AWS's bundle: a file or a URL")
    source: str = parser.parse_args().source
    if source.startswith("https://"):
        with urllib.request.urlopen(source, timeout=30) as answer:  # noqa: S310 - https, as was just looked at
            regional: str = answer.read().decode("ascii")
    else:
        regional = Path(source).read_text(encoding="ascii")
    certificates = chosen(regional, Path(certifi.where()).read_text(encoding="utf-8"), dt.datetime.now(dt.UTC))
    CERTIFICATES.write_text(written(certificates), encoding="ascii")
    sys.stdout.write(f"{CERTIFICATES.name}: {len(certificates)} roots\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

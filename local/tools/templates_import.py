"""`make templates`: store StreamSpace's templates, from YAML files in a folder, at a running dispatcher.

    python -m local.tools.templates_import FOLDER

It speaks to the HTTP API, so that it works for a deployment on AWS too.  It reads DISPATCHER_URL (without it the address of
`make up`), and either DISPATCHER_TOKEN, an API token or a log-in of an admin, or DISPATCHER_ADMIN_PASSWORD, to log in.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import urllib3
import yaml

from local.http_client import Client, Refused

URL = "http://127.0.0.1:8000"


class _JsonLoader(yaml.SafeLoader):
    """Reads only what JSON can say: a date stays a text."""


_JsonLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """An object of kind Template in a file."""

    path: Path
    name: str
    content: dict[str, Any]


def manifests(folder: Path) -> Iterator[Manifest]:
    """Read the templates in a folder and its folders, ordered by path; objects of other kinds are left out.

    Raises yaml.YAMLError and UnicodeDecodeError for a file that is not YAML.
    """
    for path in sorted(path for path in folder.rglob("*") if path.suffix in {".yaml", ".yml"} and path.is_file()):
        for document in yaml.load_all(path.read_text(encoding="utf-8"), _JsonLoader):
            if isinstance(document, dict) and cast("dict[str, Any]", document).get("kind") == "Template":
                content = cast("dict[str, Any]", document)
                metadata = content.get("metadata")
                name = cast("dict[str, Any]", metadata).get("name") if isinstance(metadata, dict) else None
                yield Manifest(path=path, name=str(name or ""), content=content)


def store(client: Client, folder: Path) -> tuple[list[str], list[str]]:
    """Store every template of a folder; return the names of the stored ones, and why others were refused."""
    stored: list[str] = []
    refused: list[str] = []
    for manifest in manifests(folder):
        if not manifest.name:
            refused.append(f"{manifest.path}: metadata.name is missing")
            continue
        try:
            client.call("PUT", f"/api/v1/templates/{quote(manifest.name, safe='')}", manifest.content)
        except Refused as problem:
            if problem.status in {401, 403}:
                raise
            refused.append(f"{manifest.path}: {problem}")
        else:
            stored.append(manifest.name)
    return stored, refused


def main() -> int:
    """Store the templates, and print what was stored and what was refused; return 1 if one was refused."""
    parser = argparse.ArgumentParser(description="store StreamSpace's templates at a running dispatcher")
    parser.add_argument("folder", type=Path, help="a folder with YAML files; its folders are read too")
    folder: Path = parser.parse_args().folder
    if not folder.is_dir():
        sys.stderr.write(f"{folder} is no folder.  Next: make templates FOLDER=/path/to/templates\n")
        return 1
    try:
        stored, refused = store(_client(), folder)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        sys.stderr.write(f"A file is not YAML, and the import ended there: {error}\n")
        return 1
    except (Refused, urllib3.exceptions.HTTPError) as error:
        sys.stderr.write(
            f"The import ended: {error}\nNext: set DISPATCHER_URL, and DISPATCHER_TOKEN or DISPATCHER_ADMIN_PASSWORD"
            " of an admin without a label limit.\n"
        )
        return 1
    for reason in refused:
        sys.stderr.write(f"refused  {reason}\n")
    for name in stored:
        sys.stdout.write(f"stored   {name}\n")
    sys.stdout.write(f"{len(stored)} stored, {len(refused)} refused\n")
    return 1 if refused else 0


def _client() -> Client:
    url = os.environ.get("DISPATCHER_URL", URL).rstrip("/")
    token = os.environ.get("DISPATCHER_TOKEN")
    if token:
        return Client(url=url, token=token)
    return Client.log_in(url, "admin", os.environ.get("DISPATCHER_ADMIN_PASSWORD", ""))


if __name__ == "__main__":
    sys.exit(main())

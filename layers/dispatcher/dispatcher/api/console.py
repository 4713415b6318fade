"""The operators' page: static files of the package's folder `console`.

Files are served under a version that is made from their contents, so that browsers keep them until they change; the page, which
names the version, is asked for each time.
"""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from http import HTTPStatus
from importlib import resources
from importlib.resources.abc import Traversable

from aws_lambda_powertools.event_handler import Response

from dispatcher.errors import NotFound

PAGES = frozenset({"agents", "audit", "commands", "operators", "send", "sessions", "webhooks"})
"""The pages beside the overview."""
WITH_ITEMS = frozenset({"agents", "commands", "webhooks"})
"""The pages of which each item has an address."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types lit-html"
)
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""The types of the files that are served; others in the folder are for readers of the repository."""
_PLACEHOLDER = b"VERSION"


@dataclass(frozen=True)
class File:
    """A file that is served."""

    content: bytes
    media_type: str

    @cached_property
    def compressed(self) -> bytes:
        """The content, with gzip."""
        return gzip.compress(self.content, mtime=0)


@cache
def version() -> str:
    """Return the version of all files."""
    digest = hashlib.sha256()
    for name, file in sorted(_files().items()):
        digest.update(f"{name} {len(file.content)}\n".encode() + file.content)
    return digest.hexdigest()[:16]


def page(headers: Mapping[str, str], name: str = "", *, item: bool = False) -> Response[bytes | str]:
    """Answer with the page; its scripts read from the address what to show.  Raises NotFound for an unknown page."""
    if name and name not in (WITH_ITEMS if item else PAGES):
        raise NotFound("There is no such page; /console/ is the first one.")
    tag = f'"{version()}"'
    own = {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": POLICY,
        "Cross-Origin-Opener-Policy": "same-origin",
        "ETag": tag,
    }
    if tag in headers.get("if-none-match", ""):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=own, body="")
    return _answer(_page(), headers, own)


def file(shown_version: str, name: str, headers: Mapping[str, str]) -> Response[bytes | str]:
    """Answer with a file; raises NotFound.  During a deployment the version may be another one: then it is not kept."""
    found = _files().get(name)
    if found is None:
        raise NotFound("There is no such file.")
    kept = "public, max-age=31536000, immutable" if shown_version == version() else "no-store"
    return _answer(found, headers, {"Cache-Control": kept})


def _answer(found: File, headers: Mapping[str, str], own: dict[str, str]) -> Response[bytes | str]:
    own |= {"Vary": "Accept-Encoding"}
    zipped = "gzip" in headers.get("accept-encoding", "")
    if zipped:
        own |= {"Content-Encoding": "gzip"}
    return Response(
        status_code=HTTPStatus.OK,
        content_type=found.media_type,
        headers=own,
        body=found.compressed if zipped else found.content.decode(),
    )


@cache
def _page() -> File:
    index = _files()["index.html"]
    return File(content=index.content.replace(_PLACEHOLDER, version().encode()), media_type=index.media_type)


@cache
def _files() -> Mapping[str, File]:
    return dict(_within(resources.files("dispatcher") / "console", ""))


def _within(folder: Traversable, path: str) -> list[tuple[str, File]]:
    found: list[tuple[str, File]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _within(entry, f"{path}{entry.name}/")
        elif media_type := _TYPES.get(f".{entry.name.rpartition('.')[2]}"):
            found.append((f"{path}{entry.name}", File(content=entry.read_bytes(), media_type=media_type)))
    return found

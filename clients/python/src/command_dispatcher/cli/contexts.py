"""Contexts: the services that a person uses, and the tokens for them, in files of that person only."""

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from command_dispatcher.cli.stopping import Exit, Stop, usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One service, and the operator there."""

    name: str
    url: str
    username: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a command goes, with which token, and why there."""

    url: str
    token: str | None
    context: str | None
    """The context that says so; None: the environment."""


def folder() -> Path:
    """Return the folder of the configuration: DISPATCHER_CONFIG_HOME, else one under XDG_CONFIG_HOME or ~/.config."""
    own = os.environ.get("DISPATCHER_CONFIG_HOME")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base and Path(base).is_absolute() else Path.home() / ".config") / "dispatcher"


class Contexts:
    """The file of contexts, and beside it the file of tokens, which only its owner can read."""

    def __init__(self) -> None:
        self._path = folder() / "contexts.json"
        self._tokens = folder() / "tokens.json"

    def all(self) -> list[Context]:
        """Return every context, by name."""
        known: dict[str, dict[str, str | None]] = self._read(self._path).get("contexts", {})
        return [
            Context(name=name, url=str(known[name]["url"]), username=known[name].get("username"))
            for name in sorted(known)
        ]

    def get(self, name: str) -> Context:
        """Return one context; raises Stop."""
        found = next((context for context in self.all() if context.name == name), None)
        if found is None:
            names = ", ".join(context.name for context in self.all()) or "none yet"
            raise Stop(Exit.NOT_FOUND, f"There is no context {name!r}; there are: {names}.", "dispatcher context list")
        return found

    @property
    def current(self) -> str | None:
        """The name of the context in use: DISPATCHER_CONTEXT, else the one chosen last."""
        return os.environ.get("DISPATCHER_CONTEXT") or self._read(self._path).get("current")

    def token(self, name: str) -> str | None:
        """Return the token of a context."""
        found: str | None = self._read(self._tokens).get(name)
        return found

    def save(self, context: Context, token: str) -> None:
        """Store a context and its token, and use it from now on."""
        self._write(self._tokens, {**self._read(self._tokens), context.name: token})
        stored = self._read(self._path)
        known = {**stored.get("contexts", {}), context.name: {k: v for k, v in asdict(context).items() if k != "name"}}
        self._write(self._path, {**stored, "current": context.name, "contexts": known})

    def use(self, name: str) -> None:
        """Use a context from now on; raises Stop."""
        self.get(name)
        self._write(self._path, {**self._read(self._path), "current": name})

    def forget_token(self, name: str) -> None:
        """Delete a context's token."""
        self._write(self._tokens, {key: value for key, value in self._read(self._tokens).items() if key != name})

    def delete(self, name: str) -> None:
        """Delete a context and its token; raises Stop."""
        self.get(name)
        self.forget_token(name)
        stored = self._read(self._path)
        known = {key: value for key, value in stored["contexts"].items() if key != name}
        current = None if stored.get("current") == name else stored.get("current")
        self._write(self._path, {**stored, "current": current, "contexts": known})

    @staticmethod
    def _read(path: Path) -> dict[str, Any]:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise usage(f"{path} is not valid JSON.", "correct it or delete it, then: dispatcher login")
        return cast("dict[str, Any]", found)

    @staticmethod
    def _write(path: Path, value: dict[str, Any]) -> None:
        # Written beside it and moved: a reader never finds half a file, and no other person can read it at any time.
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=path.name, dir=path.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(json.dumps(value, indent=2) + "\n")
        Path(name).replace(path)


def target(context: str | None) -> Target:
    """Find out where to go: --context, else DISPATCHER_URL and DISPATCHER_TOKEN, else the current context."""
    contexts = Contexts()
    url, token = os.environ.get("DISPATCHER_URL"), os.environ.get("DISPATCHER_TOKEN")
    if context is None and url:
        same = next((known.name for known in contexts.all() if known.url == url.rstrip("/")), None)
        return Target(url=url, token=token or (contexts.token(same) if same else None), context=None)
    name = context or contexts.current
    if name is None:
        raise Stop(Exit.DENIED, "You are not logged in.", "dispatcher login --url https://dispatcher.example.com")
    chosen = contexts.get(name)
    return Target(url=chosen.url, token=token if context is None and token else contexts.token(name), context=name)

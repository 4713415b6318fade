"""The options of `make up`, read from the environment."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


class OptionError(ValueError):
    """A variable has a value that cannot be used; the text names it, and what to do next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a run; None means a generated value or the template's value."""

    port: int = 8000
    home: Path = Path(".dispatcher")
    admin_password: str | None = None
    sweep_seconds: float | None = None
    hosts: tuple[str, ...] = ()
    """Names under which clients may reach the dispatcher, besides those of this machine."""
    webhooks_private: bool = False
    """Whether webhooks may use http and lead to private addresses."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Options":
        """Read DISPATCHER_PORT (0: any free one), _HOME, _ADMIN_PASSWORD, _SWEEP_SECONDS, _HOSTS (a list with commas).

        Also DISPATCHER_WEBHOOKS_PRIVATE (0 or 1).  An empty variable is unset.
        """
        port = environment.get("DISPATCHER_PORT") or "8000"
        if not port.isascii() or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004 - the highest port
            raise OptionError(f"DISPATCHER_PORT={port} is no port.\nNext: choose a number from 1024 to 65535.")
        sweep = environment.get("DISPATCHER_SWEEP_SECONDS")
        return cls(
            port=int(port),
            home=Path(environment.get("DISPATCHER_HOME") or ".dispatcher").expanduser().absolute(),
            admin_password=environment.get("DISPATCHER_ADMIN_PASSWORD") or None,
            sweep_seconds=_seconds(sweep) if sweep else None,
            webhooks_private=_switch("DISPATCHER_WEBHOOKS_PRIVATE", environment.get("DISPATCHER_WEBHOOKS_PRIVATE")),
            hosts=tuple(map(_host, filter(None, environment.get("DISPATCHER_HOSTS", "").replace(" ", "").split(",")))),
        )


def _host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:]+", text):
        raise OptionError(
            f"DISPATCHER_HOSTS={text} is no name.\nNext: give names without scheme and port, with commas."
        )
    return text


def _switch(name: str, text: str | None) -> bool:
    if text not in {None, "", "0", "1"}:
        raise OptionError(f"{name}={text} is no switch.\nNext: give 1 to switch it on, or unset it.")
    return text == "1"


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise OptionError(f"DISPATCHER_SWEEP_SECONDS={text} is no period.\nNext: give seconds, such as 5 or 0.5.")
    return seconds

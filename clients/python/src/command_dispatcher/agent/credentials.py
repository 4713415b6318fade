"""The agent's key: given, or got by enrolment and kept in a file that only its user can read."""

import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Any, cast

from .errors import AgentError
from .settings import Settings

logger = logging.getLogger("command_dispatcher.agent")


class Credentials:
    """The key to register and connect with; the file is read again for each connection, so that a new key can be put there."""

    def __init__(self, settings: Settings) -> None:
        self.path = settings.state.with_name(f"{settings.state.name}.key")
        self._given = settings.api_key
        self._token = settings.enrolment_token
        self._file_is_refused = False
        if not self._given and not self._token and not self.path.exists():
            raise AgentError(
                "The agent needs api_key (or AGENT_API_KEY), or enrolment_token (or AGENT_ENROLMENT_TOKEN); "
                f"there is no key in {self.path} either."
            )

    def key(self) -> str:
        """Return the key, or the enrolment token in its place; raises AgentError if the file cannot be read."""
        if self._given:
            return self._given
        stored = self._stored()
        if stored is not None and not (self._file_is_refused and self._token):
            return stored
        if self._token:
            return self._token
        raise AgentError(f"There is no key in {self.path}, and no enrolment token.")

    def refused(self) -> None:
        """Take note that the key was refused: an enrolment token may give a new one."""
        self._file_is_refused = not self._file_is_refused

    def save(self, key: str) -> None:
        """Keep the key that an enrolment gave; it is on disk before it is used."""
        if self._given:
            self._given = key
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # mkstemp makes the file with the mode 0600.
        descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=self.path.name)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"apiKey": key}, file)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(self.path)
        self._file_is_refused = False
        logger.info("Enrolled: the key is in %s", self.path)

    def _stored(self) -> str | None:
        try:
            if self.path.stat().st_mode & 0o077:
                logger.warning("Others could read the key in %s; from now on they cannot", self.path)
                self.path.chmod(0o600)
            text = self.path.read_text().strip()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise AgentError(f"The key in {self.path} cannot be read: {error}.") from error
        try:
            value: Any = json.loads(text)
        except ValueError:
            return text or None  # a key that a person put there
        return cast("dict[str, str]", value).get("apiKey") if isinstance(value, dict) else text or None

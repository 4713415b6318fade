"""What a handler raises to decide how its command ends, and why an agent does not run."""


class Retry(Exception):
    """The command failed, and should be executed again: not before `after` seconds have passed."""

    def __init__(self, reason: str = "", *, after: float = 0.0) -> None:
        super().__init__(reason or "the agent asks for another attempt")
        self.after = max(0.0, after)


class Reject(Exception):
    """The command is not executed; its text goes to the operator, without a stack trace in the log."""


class Cancelled(Exception):
    """The handler stopped because its command was cancelled; a function without `async` raises it."""


class AgentError(Exception):
    """The agent cannot run; the text says why, and what to do about it."""


class StorageFailed(Exception):
    """The state file could not be written, for example because the disk is full; nothing of the transaction is stored."""

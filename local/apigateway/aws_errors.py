"""The refusal of a call of one of AWS's APIs."""


class Refused(Exception):
    """A call that is answered with an error: its status, type and message."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(status, kind, message)
        self.status = status
        self.kind = kind
        self.message = message

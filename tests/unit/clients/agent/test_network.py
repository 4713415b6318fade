"""What the agent's log says of a connection that the service has closed."""

import pytest

from command_dispatcher.agent.network import reason_of


@pytest.mark.parametrize(
    ("code", "said", "is_replaced"),
    [(1000, "Connection Closed Normally", True), (1001, "Going away", False), (1011, "", False), (None, None, False)],
)
def test_only_a_normal_close_means_another_copy_of_the_agent(
    code: int | None, said: str | None, *, is_replaced: bool
) -> None:
    """A service that is stopped closes its connections, too: nobody has to look for a second machine then."""
    reason = reason_of(code, said)

    assert reason.startswith(f"the service closed the connection ({code}")
    assert ("another copy of this agent" in reason) is is_replaced

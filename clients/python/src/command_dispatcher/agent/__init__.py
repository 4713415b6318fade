"""The SDK for agents: `Agent` executes commands, each once, through crashes, cuts and upgrades."""

from .agent import Agent
from .command import Cancellation, Command
from .errors import AgentError, Cancelled, Reject, Retry

__all__ = ["Agent", "AgentError", "Cancellation", "Cancelled", "Command", "Reject", "Retry"]

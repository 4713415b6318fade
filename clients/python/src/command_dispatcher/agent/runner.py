"""`dispatcher agent run MODULE:agent`: run an agent that a module defines."""

import importlib
import os
import sys

from .agent import Agent
from .errors import AgentError

USAGE = 2
"""The exit code for a specification that names no agent."""


def run(spec: str) -> int:
    """Run the agent that `MODULE:NAME` names, until a signal ends it; return the exit code.

    The module is looked for in the current folder first.  Without a name it is `agent`.
    """
    try:
        agent = load(spec)
    except AgentError as error:
        sys.stderr.write(f"{error}\n")
        return USAGE
    agent.run()
    return 0


def load(spec: str) -> Agent:
    """Import the module and return its agent; raises AgentError with what is wrong."""
    module_name, _, name = spec.partition(":")
    folder = os.getcwd()  # noqa: PTH109 - an entry of sys.path is a string
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # a library that the module imports
        raise AgentError(f"There is no module {module_name!r} in {folder} or on the path of Python.") from None
    except ValueError:
        raise AgentError(f"{spec!r} is not MODULE:NAME, such as my_agent:agent.") from None
    agent = getattr(module, name or "agent", None)
    if not isinstance(agent, Agent):
        raise AgentError(f"The module {module_name!r} has no agent {name or 'agent'!r}.")
    return agent

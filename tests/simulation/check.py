"""What every invariant is checked with."""

from collections import defaultdict

from tests.simulation.history import History, Post, RecordedTransition


class Check:
    """Counts what is checked, and collects what does not hold."""

    def __init__(self) -> None:
        self.count = 0
        self.violations: list[str] = []

    def __call__(self, holds: object, sentence: str) -> None:
        """Check one condition; the sentence says what is wrong if it does not hold."""
        self.count += 1
        if not holds:
            self.violations.append(sentence)


def transitions_by_command(history: History) -> dict[str, list[RecordedTransition]]:
    """Return the transitions of each command, in order."""
    found: dict[str, list[RecordedTransition]] = defaultdict(list)
    for transition in history.transitions:
        found[transition.command_id].append(transition)
    return found


def posts_by_command(posts: list[Post]) -> dict[str, list[Post]]:
    """Return the posts of each command, in order."""
    found: dict[str, list[Post]] = defaultdict(list)
    for post in posts:
        for command in post.commands:
            found[command.command_id].append(post)
    return found


def arrivals(history: History) -> dict[str, list[Post]]:
    """Return the posts of each command that reached its agent."""
    return posts_by_command([post for post in history.posts if post.arrived])


def attempt_in(post: Post, command_id: str) -> int:
    """Return the attempt of a command in a post."""
    return next(command.attempt for command in post.commands if command.command_id == command_id)

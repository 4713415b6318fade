"""The choices of one history: drawn from a seed, recorded, replayed and shrunk.

A history is a list of steps, and each step is the list of choices that were made in it.  A choice of 0 is the ordinary case:
no fault.  So a history gets simpler when a step is removed or a choice becomes 0.
"""

import random
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")
Steps = list[list[int]]


class Choices:
    """Draws choices from a seed, or repeats those of an earlier history."""

    def __init__(self, seed: int, replayed: Steps | None = None) -> None:
        self.steps: Steps = []
        """What was chosen so far."""
        self._random = random.Random(seed)  # noqa: S311 - a history, not a secret
        self._replayed = replayed

    def steps_left(self, most: int) -> int:
        """Return how many steps follow: `most`, or as many as the replayed history has."""
        return most if self._replayed is None else max(0, len(self._replayed) - len(self.steps))

    def begin_step(self) -> None:
        """Begin the next step."""
        self.steps.append([])

    def choose(self, options: tuple[T, ...]) -> T:
        """Choose one of the options; a replayed step that has no more choices continues with the first option."""
        chosen = self.steps[-1]
        if self._replayed is None:
            number = self._random.randrange(len(options))
        else:
            step = self._replayed[len(self.steps) - 1]
            number = step[len(chosen)] % len(options) if len(chosen) < len(step) else 0
        chosen.append(number)
        return options[number]


def shrink(steps: Steps, replay: Callable[[Steps], Steps | None]) -> Steps:
    """Return the simplest steps found that still fail; `replay` returns the steps as they were played, None: no failure."""
    before: Steps = []
    while steps != before:
        before = steps
        for index in reversed(range(1, len(steps))):
            steps = replay(steps[:index] + steps[index + 1 :]) or steps
        for index in range(len(steps)):
            place = 0
            while place < len(steps[index]):
                for simpler in _simpler(steps[index], place):
                    if played := replay([*steps[:index], simpler, *steps[index + 1 :]]):
                        steps = played
                        break
                place += 1
    return steps


def _simpler(step: list[int], place: int) -> Iterator[list[int]]:
    """Yield the step with the ordinary case from one place on, and at this place only."""
    if step[place]:
        yield step[:place]
        yield [*step[:place], 0, *step[place + 1 :]]

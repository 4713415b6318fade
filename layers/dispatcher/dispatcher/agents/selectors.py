"""Label selectors as Kubernetes writes them: `env=prod,tier in (a,b),!canary,zone!=eu-1`.

A selector becomes SQL over the labels of an agent; names and values are always parameters.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

MOST_CHARACTERS = 2000
MOST_REQUIREMENTS = 32
MOST_VALUES = 100
_TOKEN = re.compile(r"\s*(==|!=|[=!(),<>]|[^\s=!(),<>]+|$)")
_SIGNS = frozenset({"==", "!=", "=", "!", "(", ")", ",", "<", ">", ""})


class BadSelector(ValueError):
    """The text is no selector; the message names the place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One condition on the label `key`.

    With `values`: it has one of them, or, where `negated`, none of them, or there is no such label.  Without: the label exists,
    or, where `negated`, it does not.
    """

    key: str
    values: tuple[str, ...] | None = None
    negated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Requirements that all hold."""

    text: str
    requirements: tuple[Requirement, ...]

    @property
    def finds(self) -> bool:
        """Whether an index of labels finds the agents: one requirement names a label that they have."""
        return any(not requirement.negated for requirement in self.requirements)

    @property
    def condition(self) -> str:
        """The condition in SQL, on agents under the alias `a`, with the parameters `label_0`, `label_1`, …."""
        return " and ".join(
            f"{'not ' if requirement.negated else ''}"
            + (
                f"a.labels ? %(label_{n})s"
                if requirement.values is None
                else f"a.labels @> any(%(label_{n})s::jsonb[])"
            )
            for n, requirement in enumerate(self.requirements)
        )

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the condition."""
        return {
            f"label_{n}": requirement.key
            if requirement.values is None
            else [Jsonb({requirement.key: value}) for value in requirement.values]
            for n, requirement in enumerate(self.requirements)
        }


def checked(text: str) -> str:
    """Return the text of a selector unchanged; raises BadSelector."""
    parse(text)
    return text


def parse(text: str) -> Selector:
    """Read a selector; raises BadSelector, which names the place of the first mistake."""
    if len(text) > MOST_CHARACTERS:
        raise BadSelector(f"it has {len(text)} characters; a selector has {MOST_CHARACTERS} at most")
    reader = _Reader(_tokens(text))
    requirements = [reader.requirement()]
    while reader.take(","):
        requirements.append(reader.requirement())
    reader.expect("", "`,` or the end")
    if len(requirements) > MOST_REQUIREMENTS:
        raise BadSelector(f"it has {len(requirements)} requirements; a selector has {MOST_REQUIREMENTS} at most")
    return Selector(text=text, requirements=tuple(requirements))


def _tokens(text: str) -> list[tuple[str, int]]:
    """Return the words and signs, each with the number of its first character, from 1; the last one is empty."""
    found: list[tuple[str, int]] = []
    end = 0
    while not found or found[-1][0]:
        match = _TOKEN.match(text, end)
        if match is None:  # pragma: no cover - every character is a sign, a space or part of a word
            raise BadSelector(f"at character {end + 1}: it cannot be read")
        found.append((match.group(1), match.start(1) + 1))
        end = match.end()
    return found


class _Reader:
    """Reads tokens from left to right."""

    def __init__(self, tokens: Sequence[tuple[str, int]]) -> None:
        self._tokens = tokens
        self._next = 0

    def requirement(self) -> Requirement:
        if self.take("!"):
            return Requirement(key=self._word("the name of a label"), negated=True)
        key = self._word("the name of a label, or `!`")
        if self.take("=") or self.take("=="):
            return Requirement(key=key, values=(self._value(),))
        if self.take("!="):
            return Requirement(key=key, values=(self._value(),), negated=True)
        if self.take("in"):
            return Requirement(key=key, values=self._set())
        if self.take("notin"):
            return Requirement(key=key, values=self._set(), negated=True)
        if self._text not in {",", ""}:
            self._fail("`=`, `==`, `!=`, `in`, `notin`, `,` or the end")
        return Requirement(key=key)

    def take(self, token: str) -> bool:
        """Go on if this token is the next one."""
        if self._text != token:
            return False
        self._next += 1
        return True

    def expect(self, token: str, wanted: str) -> None:
        if self._text != token:
            self._fail(wanted)
        self._next += 1

    @property
    def _text(self) -> str:
        return self._tokens[min(self._next, len(self._tokens) - 1)][0]

    def _word(self, wanted: str) -> str:
        word = self._text
        if word in _SIGNS:
            self._fail(wanted)
        self._next += 1
        return word

    def _value(self) -> str:
        # `env=` means the empty value.
        return "" if self._text in {",", ")", ""} else self._word("a value")

    def _set(self) -> tuple[str, ...]:
        self.expect("(", "`(`")
        if self._text == ")":
            self._fail("a value")
        values = [self._value()]
        while self.take(","):
            values.append(self._value())
        self.expect(")", "`,` or `)`")
        if len(values) > MOST_VALUES:
            raise BadSelector(f"it has a set of {len(values)} values; a set has {MOST_VALUES} at most")
        return tuple(values)

    def _fail(self, wanted: str) -> None:
        token, character = self._tokens[min(self._next, len(self._tokens) - 1)]
        found = f"`{token[:32]}`" if token else "the end"
        raise BadSelector(f"at character {character}: expected {wanted}, found {found}")

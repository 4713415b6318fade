"""JSON keeps every digit, and refuses what cannot be stored and delivered unchanged."""

import json

import pytest

from dispatcher.errors import InvalidRequest
from dispatcher.platform.json_text import MAX_DEPTH, MAX_DIGITS, dumps, loads_lenient, loads_of_agent, loads_strict


@pytest.mark.parametrize(
    "text",
    [
        "0.12345678901234567890123",
        "-0.1",
        "1.50",
        "-0.0",
        "12345678901234567890.000000000001",
        "9" * MAX_DIGITS,
        '{"a":[1.10,{"b":0.30000000000000000000004}],"c":null,"d":"é"}',
    ],
)
@pytest.mark.parametrize("loads", [loads_strict, loads_of_agent, loads_lenient])
def test_numbers_keep_their_digits(text: str, loads: object) -> None:
    """A float would round them."""
    assert callable(loads)
    assert dumps(loads(text)) == text


def test_a_number_with_an_exponent_keeps_its_value() -> None:
    """It may be written in another way."""
    assert json.loads(dumps(loads_strict("[1e5, 1E-7, 0e999999999999999999999]"))) == [100000, 1e-7, 0]


@pytest.mark.parametrize(
    "text", ["1e400", "-1e400", "1e-400", "1e99999999999999999999", "1e-99999999999999999999", "9" * (MAX_DIGITS + 1)]
)
def test_a_number_that_no_double_can_hold_is_refused_in_a_request(text: str) -> None:
    """Many agents drop the whole message that it is in; from an agent it becomes the text of its digits."""
    with pytest.raises(InvalidRequest):
        loads_strict(text)

    assert loads_of_agent(text) == text


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":2}',
        '[{"b":{"a":1,"a":1}}]',
        "NaN",
        "-Infinity",
        '"\\u0000"',
        '{"\\u0000":1}',
        '"\\ud800"',
        '["\\uDfff"]',
        "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
        '{"a":' * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1),
        "0." + "1" * MAX_DIGITS,
        "'a'",
        "",
    ],
)
def test_what_cannot_be_stored_unchanged_is_refused(text: str) -> None:
    """With the reason, never with a server error."""
    with pytest.raises(InvalidRequest):
        loads_strict(text)


@pytest.mark.parametrize(
    "text", ["[" * MAX_DEPTH + "]" * MAX_DEPTH, '"\\ud83d\\ude00"', '"\\\\u0000"', "[" + "[]," * 999 + "[]]"]
)
def test_what_only_looks_like_it_is_accepted(text: str) -> None:
    """A pair of surrogates is a character, and many arrays beside each other are not deep."""
    assert loads_strict(text) == json.loads(text)


def test_brackets_in_texts_do_not_hide_how_deep_a_body_is() -> None:
    """Read without their quotes, they would close each array as soon as it opens."""
    levels = MAX_DEPTH + 1

    with pytest.raises(InvalidRequest, match="deeper than"):
        loads_strict('["]",' * levels + "0" + ',"["]' * levels)


def test_sorted_members_give_one_text() -> None:
    """So that the same request has the same hash, with or without long decimals."""
    one = loads_strict('{"b":{"y":1,"x":0.12345678901234567890123},"a":[2,1]}')
    other = loads_strict('{"a":[2,1],"b":{"x":0.12345678901234567890123,"y":1}}')

    assert dumps(one, sort_keys=True) == dumps(other, sort_keys=True)
    assert dumps(one) != dumps(other)

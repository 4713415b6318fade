"""Moments, integers, and values that are too large for an answer."""

import json
from typing import Annotated, Any

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from dispatcher.api.schema_base import SHOWN_BYTES, WHOLE, AgentId, Moment, Shown
from dispatcher.platform.json_text import dumps, loads_strict

MOMENT: TypeAdapter[Any] = TypeAdapter(Moment)
NUMBER: TypeAdapter[Any] = TypeAdapter(Annotated[int, Field(strict=True, ge=-100, le=100), WHOLE])


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("2027-01-01t00:00:00z", "2027-01-01T00:00:00Z"),
        ("2027-01-01T05:30:00.5+05:30", "2027-01-01T00:00:00.500000Z"),
        ("2027-01-01T00:00:00.123456789Z", "2027-01-01T00:00:00.123456Z"),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        ("1969-12-31T23:00:00-12:00", "1970-01-01T11:00:00Z"),
    ],
)
def test_a_moment_of_rfc_3339_is_accepted(text: str, moment: str) -> None:
    """In any time zone."""
    assert json.loads(dumps(MOMENT.validate_python(text))) == moment


@pytest.mark.parametrize(
    "value",
    [
        "2027",
        "20271224",
        "1798761600",
        1798761600,
        "2027-12-24",
        "2027-12-24T00:00:00",
        "2027-12-24 00:00:00Z",
        "2027-W52-5T00:00:00Z",
        "20271224T000000Z",
        "2027-12-24T00:00Z",
        "2027-02-29T00:00:00Z",
        "2027-12-24T24:00:00Z",
        "2027-12-24T00:00:00+99:00",
        "0001-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00+00:01",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "٢٠٢٧-12-24T00:00:00Z",
        "",
        None,
    ],
)
def test_another_text_is_no_moment(value: object) -> None:
    """PostgreSQL and Python read many more forms, and some of them as another time."""
    with pytest.raises(ValidationError):
        MOMENT.validate_python(value)


@pytest.mark.parametrize(
    ("text", "number"), [("1.0", 1), ("1e0", 1), ("-0.0", 0), ("1.000000000000000000000", 1), ("7", 7)]
)
def test_an_integer_may_be_written_as_a_decimal(text: str, number: int) -> None:
    """JSON has one kind of number."""
    value = NUMBER.validate_python(loads_strict(text))

    assert (value, type(value)) == (number, int)


@pytest.mark.parametrize("text", ["1.5", "1e300", "true", '"1"', "101", "1.0000000000000000000001"])
def test_what_is_no_integer_or_out_of_bounds_is_refused(text: str) -> None:
    """Nothing is rounded."""
    with pytest.raises(ValidationError):
        NUMBER.validate_python(loads_strict(text))


@pytest.mark.parametrize("agent_id", ["connect", "register", "a/b", "..", "-a", "", "a b", "a\n"])
def test_an_id_that_no_path_can_name_is_refused(agent_id: str) -> None:
    """Its agent could not be read, commanded or deleted."""
    with pytest.raises(ValidationError):
        TypeAdapter[str](AgentId).validate_python(agent_id)


@pytest.mark.parametrize("character", ["x", '"', "\x01", "é", "😀"])
def test_a_value_is_shown_whole_or_shortened(character: str) -> None:
    """A command's payload is never shortened; what no answer has room for is."""
    shown: TypeAdapter[Any] = TypeAdapter(Shown)
    fits = character * ((SHOWN_BYTES - 2) // (len(dumps(character).encode()) - 2))

    assert shown.validate_python(fits) == fits
    for too_large in (fits + character, [fits, character]):
        shortened = shown.validate_python(too_large)
        assert shortened.endswith("characters in all)")
        assert len(shortened) < len(fits) or len(dumps(shortened).encode()) <= 2 * SHOWN_BYTES + 100

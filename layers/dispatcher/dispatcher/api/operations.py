"""The operations of a function: their arguments are read from an event and validated by annotations.

Powertools finds out what a function takes.  Its own middleware splits headers and filters at their commas.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast, get_args, get_origin
from urllib.parse import parse_qs

from dispatcher.api.incoming import Incoming
from dispatcher.api.problems import malformed, place
from dispatcher.errors import InvalidRequest
from dispatcher.platform.json_text import loads_strict, storable

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler.api_gateway import Route
    from aws_lambda_powertools.event_handler.openapi.compat import ModelField

MOST_PARAMETERS = 100
"""Query parameters that are read; a request with more is refused."""


class Argument:
    """One argument: where it is in the event, and how it is validated."""

    __slots__ = ("_default", "_field", "at", "in_url", "key", "many")

    def __init__(self, kind: str, field: "ModelField") -> None:
        self._field = field
        self._default = None if field.required else field.get_default()
        self.key = field.alias.lower() if kind == "header" else field.alias
        self.at = (kind,) if kind == "body" else (kind, field.alias)
        self.in_url = kind in {"path", "query"}
        annotation = field.type_
        self.many = any(get_origin(each) is list for each in (annotation, *get_args(annotation)))

    def put(self, value: Any, values: dict[str, Any], errors: list[dict[str, str]]) -> None:
        """Add the validated value to `values`, or what is wrong with it to `errors`; None: it is not there."""
        field = self._field
        if value is None:
            if field.required:
                errors.append(place({"loc": self.at, "type": "missing"}))
            else:
                values[field.name] = self._default
            return
        if self.in_url and value != storable(value):
            said = "U+0000 and lone surrogates are in no id and no filter"
            errors.append(place({"loc": self.at, "type": "text", "msg": said}))
            return
        values[field.name], found = field.validate(value, loc=self.at)
        errors += [place(each) for each in found or ()]


class Arguments:
    """The arguments of a function."""

    def __init__(self, route: "Route") -> None:
        taken = route.dependant
        self.path = [Argument("path", field) for field in taken.path_params]
        self.query = [Argument("query", field) for field in taken.query_params]
        self.headers = [Argument("header", field) for field in taken.header_params]
        self.body = [Argument("body", field) for field in taken.body_params]
        self.filters = {argument.key for argument in self.query}


class Operation:
    """A route's function, and how its arguments are read."""

    def __init__(self, route: "Route") -> None:
        self._route = route
        self._function = cast("Callable[..., object]", route.func)
        self.status: int = route.status_code

    @cached_property
    def _arguments(self) -> Arguments:
        return Arguments(self._route)  # takes milliseconds, and a cold start needs one operation

    def call(self, request: Incoming, *, strict: bool) -> object:
        """Call the function; raises Unprocessable, and InvalidRequest for a body that is not JSON.

        Where `strict`, an unknown query parameter is refused like an unknown field of a body: a misspelt filter would list
        everything.
        """
        event, takes = request.event, self._arguments
        query = _query_of(event)
        if strict and (unknown := sorted(query.keys() - takes.filters)):
            raise malformed([{"at": f"query/{name[:64]}", "is": "Not a parameter of this path"} for name in unknown])
        values: dict[str, Any] = {}
        errors: list[dict[str, str]] = []
        for argument in takes.path:
            argument.put(request.parameters[argument.key], values, errors)
        for argument in takes.query:
            given = query.get(argument.key)
            if given is not None and argument.many:
                argument.put([part for each in given for part in each.split(",")], values, errors)
            elif given is not None and len(given) > 1:
                errors.append({"at": f"query/{argument.key}", "is": "It may be given once"})
            else:
                argument.put(given[0] if given else None, values, errors)
        for argument in takes.headers:
            argument.put(request.headers.get(argument.key), values, errors)
        for argument in takes.body:
            text = event.get("body")
            argument.put(loads_strict(text) if text else None, values, errors)
        if errors:
            raise malformed(errors)
        return self._function(**values)


def _query_of(event: Mapping[str, Any]) -> dict[str, list[str]]:
    text = event.get("rawQueryString")
    if not text:
        return {}
    try:
        return parse_qs(text, keep_blank_values=True, max_num_fields=MOST_PARAMETERS)
    except ValueError:
        raise InvalidRequest(f"The query has more than {MOST_PARAMETERS} parameters.") from None

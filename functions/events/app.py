"""The change feed: what happened to commands and agents, in order; a request can wait for the next event."""

from http import HTTPStatus
from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Query
from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.access.roles import Role
from dispatcher.agents import selectors
from dispatcher.api.cursors import PAGE_MOST
from dispatcher.api.event_schemas import EventPage
from dispatcher.api.problems import malformed
from dispatcher.api.resolver import Api, Limit, Selecting
from dispatcher.events import feed, waiting
from dispatcher.events.feed import EventFilter, EventType
from dispatcher.platform import database, settings
from dispatcher.platform.observability import logged

api = Api()


@api.get("/api/v1/events")
def list_events(
    *,
    after: Annotated[
        str | None,
        Query(
            pattern="^[A-Za-z0-9_-]{2,}$",
            description="The `after` of the page before; `start`: from the oldest that is kept; default: from now on.",
        ),
    ] = None,
    latest: Annotated[
        int | None,
        Query(
            ge=1,
            le=PAGE_MOST,
            description="Begin with so many of the latest events that match, instead of `after`, of the last 10,000.",
        ),
    ] = None,
    types: Annotated[list[EventType] | None, Query(description="One or more, as a,b or repeated.")] = None,
    agent_id: Annotated[str | None, Query(alias="agentId")] = None,
    selector: Selecting = None,
    limit: Limit = 50,
    wait: Annotated[int, Query(ge=0, le=20, description="Seconds to wait for an event if there is none.")] = 0,
) -> Response[EventPage]:
    """Read the change feed, in order: no event is left out.

    A page may be empty although more events follow, if the filter wants none of those that were looked at.  Where too many
    requests wait, the answer comes at once, with the header Retry-After.
    """
    scope = api.operator_with(Role.READER).scope
    if latest is not None and after is not None:
        raise malformed([{"at": "query/latest", "is": "Send `after` or `latest`, not both"}])
    wanted = EventFilter(
        types=frozenset(types) if types else None,
        agent_id=agent_id,
        selector=selectors.parse(selector) if selector is not None else None,
    )
    answered = waiting.read(
        database.connect,
        after=after,
        latest=latest,
        limit=limit,
        wanted=wanted,
        scope=scope,
        seconds=min(wait, api.deadline() - waiting.SEARCH_SECONDS),
        places=settings.event_waiters(),
    )
    body: Any = {
        "events": [feed.as_json(event) for event in answered.page.events],
        "after": str(answered.page.after),
    }
    headers = {"Retry-After": "2"} if answered.crowded else None
    return Response(status_code=HTTPStatus.OK, content_type="application/json", body=body, headers=headers)


@logged
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer an HTTP event."""
    return api.answer(event, context)

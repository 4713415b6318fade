"""One run of the deliveries: tells webhooks of the events that are due, many at a time, each in order.

It reads the feed and signs; `webhook`, outside of the network of the database, sends.  Each webhook has a lease and at most
one batch under way, so a receiver that is slow or dead delays no other webhook.
"""

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

from dispatcher.agents import selectors
from dispatcher.agents.selectors import BadSelector
from dispatcher.errors import EventsGone, InvalidRequest, UnknownFeedCursor
from dispatcher.events import feed
from dispatcher.events.feed import Cursor, EventFilter, Page
from dispatcher.platform.database import Connection
from dispatcher.platform.lambda_api import NotInvokedError, NotReportedError
from dispatcher.platform.observability import logger
from dispatcher.webhooks import delivery_log, webhook_queue
from dispatcher.webhooks.delivery_log import Try
from dispatcher.webhooks.invocation import BATCH_WAIT_SECONDS, Batch, Sender, invoke_webhook
from dispatcher.webhooks.messages import message_id_of, signed
from dispatcher.webhooks.sending import Outcome
from dispatcher.webhooks.webhook_queue import SLOW_MILLISECONDS, Claim, Result, pause_after

BATCH = 50
"""The most events of one batch."""
PLACES = 32
"""Batches that are under way at the same time."""
SLOW_PLACES = 16
"""How many of them may be of webhooks that were slow or failed at the last try."""
PRUNED = 1000
"""The most entries of the delivery log that one run deletes because of their age."""
POLL_SECONDS = 1.0
"""Between two looks for new events."""
RESERVE_SECONDS = BATCH_WAIT_SECONDS + 2
"""What must be left of a run for a new batch."""
NOT_SENT_SECONDS = 5.0
"""The pause after a batch that the sender did not get."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What one run did.  The names are those of the metrics: never change one."""

    webhook_messages: int = 0
    """Messages that receivers accepted."""
    webhook_failures: int = 0
    """Tries that failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderWay:
    """The events of a claim that are being sent."""

    claim: Claim
    page: Page
    slow: bool
    """Whether the webhook was slow, or failed, at the last try."""


def run(
    conn: Connection,
    key: str,
    *,
    deadline: Callable[[], float],
    sender: Sender = invoke_webhook,
    poll_seconds: float = POLL_SECONDS,
) -> Ran:
    """Deliver until the time is up; return at once if no webhook is enabled.  Also prunes the delivery log."""
    if not webhook_queue.is_any(conn):
        return Ran()  # and the log is empty, too
    delivery_log.prune(conn, PRUNED)
    return _Run(conn, key, deadline, sender).until_time_is_up(poll_seconds)


class _Run:
    def __init__(self, conn: Connection, key: str, deadline: Callable[[], float], sender: Sender) -> None:
        self._conn = conn
        self._key = key
        self._deadline = deadline
        self._sender = sender
        self._under_way: dict[Future[list[Outcome]], UnderWay] = {}
        self._messages = self._failures = 0

    def until_time_is_up(self, poll_seconds: float) -> Ran:
        with ThreadPoolExecutor(PLACES, "webhook") as pool:
            while True:
                has_time = self._deadline() > RESERVE_SECONDS
                began = has_time and self._begin(pool)
                if not self._under_way and not (has_time and webhook_queue.is_any_enabled(self._conn)):
                    break
                if self._under_way:
                    self._end(poll_seconds)
                elif not began:
                    time.sleep(poll_seconds)
        return Ran(webhook_messages=self._messages, webhook_failures=self._failures)

    def _begin(self, pool: ThreadPoolExecutor) -> bool:
        """Claim what is due, within the places, and have it sent; return whether something was claimed."""
        webhook_queue.disable_without_rights(self._conn)
        known: dict[str, bool] = {}
        began = False
        for candidate in webhook_queue.candidates(self._conn):
            if len(self._under_way) >= PLACES:
                break
            if candidate.slow and sum(each.slow for each in self._under_way.values()) >= SLOW_PLACES:
                continue
            if candidate.cursor not in known:
                known[candidate.cursor] = self._has_more(candidate.cursor)
            claim = webhook_queue.claim(self._conn, candidate.webhook_id) if known[candidate.cursor] else None
            if claim is None:
                continue
            began = True
            batch = self._read(claim, slow=candidate.slow)
            if batch is not None:
                self._under_way[pool.submit(self._sender, self._signed(batch), seconds=BATCH_WAIT_SECONDS)] = batch
        return began

    def _has_more(self, cursor: str) -> bool:
        try:
            return feed.has_more(self._conn, Cursor.parse(cursor))
        except InvalidRequest:
            return True  # whoever reads there finds out

    def _read(self, claim: Claim, *, slow: bool) -> UnderWay | None:
        """Read the next events of a webhook; None if there are none for it."""
        try:
            selected = EventFilter(
                types=None if claim.types is None else frozenset(claim.types),
                selector=None if claim.selector is None else selectors.parse(claim.selector),
            )
            after = Cursor.parse(claim.cursor)
            page = feed.read(self._conn, after=after, limit=BATCH, wanted=selected, scope=claim.labels)
        except (EventsGone, InvalidRequest, BadSelector) as error:
            lost = isinstance(error, EventsGone | UnknownFeedCursor)
            reason = {"webhook_id": str(claim.webhook_id), "reason": str(error)}
            logger.warning("Webhook cannot read its events", extra=reason)
            webhook_queue.disable(self._conn, claim, "lost" if lost else "invalid")
            return None
        if page.events:
            return UnderWay(claim=claim, page=page, slow=slow)
        webhook_queue.settle(self._conn, claim, Result(cursor=str(page.after)), None)
        return None

    def _signed(self, batch: UnderWay) -> Batch:
        claim = batch.claim
        messages = [
            signed(
                message_id_of(claim.webhook_id, event.id),
                event.type,
                event.at,
                feed.as_json(event),
                key=self._key,
                secret_ids=claim.secret_ids,
                now=claim.at,
            )
            for event in batch.page.events
        ]
        return Batch(webhook_id=str(claim.webhook_id), url=claim.url, messages=messages)

    def _end(self, seconds: float) -> None:
        """Settle the batches that have come back; wait for the first one for so long."""
        done, _ = wait(self._under_way, timeout=seconds, return_when=FIRST_COMPLETED)
        for future in done:
            batch = self._under_way.pop(future)
            try:
                outcomes = future.result()
            except NotInvokedError as error:
                self._complain(batch, error)
                webhook_queue.postpone(self._conn, batch.claim, NOT_SENT_SECONDS)
            except NotReportedError as error:
                self._complain(batch, error)  # it may still send: the lease ends by itself
            else:
                self._settle(batch, outcomes)

    def _settle(self, batch: UnderWay, outcomes: list[Outcome]) -> None:
        claim, events = batch.claim, batch.page.events
        failed = next((outcome for outcome in outcomes if outcome.error is not None), None)
        delivered = len(outcomes) - (failed is not None)
        tries = [
            Try(
                message_id=message_id_of(claim.webhook_id, event.id),
                event_id=event.id,
                type=event.type,
                agent_id=event.agent_id,
                attempt=claim.failures + 1 if position == 0 else 1,
                outcome=outcome,
            )
            for position, (event, outcome) in enumerate(zip(events, outcomes, strict=False))
        ]
        all_delivered = delivered == len(events)
        result = Result(
            cursor=str(batch.page.after) if all_delivered else str((claim.cursor, *batch.page.places)[delivered]),
            error=failed.error if failed else None,
            progress=delivered > 0,
            gone=failed is not None and failed.status == HTTPStatus.GONE,
            pause=_pause(failed, 1 if delivered else claim.failures + 1),
            slow=failed is not None or any(each.milliseconds > SLOW_MILLISECONDS for each in outcomes),
        )
        waiting_since = self._waiting_since(batch) if all_delivered else events[delivered].at
        with self._conn.transaction():
            if webhook_queue.settle(self._conn, claim, result, waiting_since):
                delivery_log.record(self._conn, claim.webhook_id, tries)
        self._messages += delivered
        if failed is not None:
            self._failures += 1
            logger.warning(
                "Webhook not delivered",
                extra={"webhook_id": str(claim.webhook_id), "reason": failed.error, "failures": claim.failures + 1},
            )

    def _waiting_since(self, batch: UnderWay) -> datetime | None:
        """Return since when the event after a batch has waited, or a little more; None if there is none."""
        more = batch.page.more and feed.has_more(self._conn, batch.page.after)
        return batch.page.events[-1].at if more else None

    def _complain(self, batch: UnderWay, error: Exception) -> None:
        logger.error(
            "Webhook's sender has not reported",
            extra={"webhook_id": str(batch.claim.webhook_id), "reason": str(error)},
        )


def _pause(failed: Outcome | None, failures: int) -> float:
    if failed is None:
        return 0.0
    return max(pause_after(failures), float(failed.retry_after or 0))

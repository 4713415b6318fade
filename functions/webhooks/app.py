"""Webhooks: make, list, change, test and delete them; their secrets and their delivery log."""

from http import HTTPStatus
from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Body
from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.access.roles import Role
from dispatcher.api import cursors
from dispatcher.api.resolver import Api, Cursor, Limit, answer_page, answer_with, no_content
from dispatcher.api.webhook_schemas import (
    DeliveryDocument,
    DeliveryPage,
    NewSecretDocument,
    SecretRequest,
    TrialDocument,
    WebhookDocument,
    WebhookPage,
    WebhookPatchRequest,
    WebhookRequest,
)
from dispatcher.platform import database, settings
from dispatcher.platform.observability import logged
from dispatcher.webhooks import delivery_log, trial, webhook_records
from dispatcher.webhooks.invocation import wake_deliveries
from dispatcher.webhooks.webhook_records import OVERLAP_SECONDS, Webhook

WEBHOOKS = "/api/v1/webhooks"
api = Api()


@api.post(WEBHOOKS, status_code=HTTPStatus.CREATED)
def create(request: Annotated[WebhookRequest, Body()]) -> Response[NewSecretDocument]:
    """Make a webhook that is told of events from now on; its secret is shown once."""
    by = api.operator_with(Role.ADMIN)
    with database.connect() as conn:
        webhook, secret = webhook_records.create(conn, request.to_webhook(), settings.webhook_key(), by)
        wake_deliveries(conn)
    return answer_with(HTTPStatus.CREATED, _with_secret(webhook, secret), location=f"{WEBHOOKS}/{webhook.webhook_id}")


@api.get(WEBHOOKS)
def list_webhooks(limit: Limit = 50, cursor: Cursor = None) -> Response[WebhookPage]:
    """List webhooks, oldest first, without their secrets."""
    scope = api.operator_with(Role.ADMIN).scope
    after = cursors.decode_number(cursor) if cursor else 0
    with database.connect() as conn:
        page = webhook_records.list_page(conn, scope=scope, after=after, limit=limit)
    return answer_page(
        "webhooks", page, WebhookDocument.model_validate, limit=limit, position=lambda each: each.position
    )


@api.get(f"{WEBHOOKS}/<webhook_id>")
def read(webhook_id: str) -> WebhookDocument:
    """Read a webhook, without its secret."""
    scope = api.operator_with(Role.ADMIN).scope
    with database.connect() as conn:
        return WebhookDocument.model_validate(webhook_records.find(conn, webhook_id, scope))


@api.patch(f"{WEBHOOKS}/<webhook_id>")
def change(webhook_id: str, request: Annotated[WebhookPatchRequest, Body()]) -> WebhookDocument:
    """Change a webhook, enable or disable it; from then on it has your rights, and no more than before."""
    by = api.operator_with(Role.ADMIN)
    with database.connect() as conn:
        webhook = webhook_records.change(conn, webhook_id, request.to_patch(), by)
        if request.enabled:
            wake_deliveries(conn)
    return WebhookDocument.model_validate(webhook)


@api.delete(f"{WEBHOOKS}/<webhook_id>", status_code=HTTPStatus.NO_CONTENT)
def delete(webhook_id: str) -> Response[None]:
    """Delete a webhook and its delivery log."""
    by = api.operator_with(Role.ADMIN)
    with database.connect() as conn:
        webhook_records.delete(conn, webhook_id, by)
    return no_content()


@api.post(f"{WEBHOOKS}/<webhook_id>/secret", status_code=HTTPStatus.CREATED)
def renew_secret(
    webhook_id: str, request: Annotated[SecretRequest | None, Body()] = None
) -> Response[NewSecretDocument]:
    """Give a webhook a new secret, which is shown once; the old one signs beside it for a while."""
    by = api.operator_with(Role.ADMIN)
    overlap_seconds = request.overlap_seconds if request else OVERLAP_SECONDS
    with database.connect() as conn:
        webhook, secret = webhook_records.renew_secret(conn, webhook_id, settings.webhook_key(), overlap_seconds, by)
    return answer_with(HTTPStatus.CREATED, _with_secret(webhook, secret))


@api.post(f"{WEBHOOKS}/<webhook_id>/test")
def test(webhook_id: str) -> TrialDocument:
    """Send a webhook a message of the type `webhook.test` now, and answer with what came of it."""
    by = api.operator_with(Role.ADMIN)
    with database.connect() as conn:
        return TrialDocument.model_validate(trial.send_test(conn, webhook_id, settings.webhook_key(), by))


@api.get(f"{WEBHOOKS}/<webhook_id>/deliveries")
def list_deliveries(webhook_id: str, limit: Limit = 50, cursor: Cursor = None) -> Response[DeliveryPage]:
    """Read a webhook's delivery log, newest first: each try and its outcome."""
    scope = api.operator_with(Role.ADMIN).scope
    before = cursors.decode_number(cursor) if cursor else None
    with database.connect() as conn:
        webhook = webhook_records.find(conn, webhook_id, scope)
        page = delivery_log.list_page(conn, webhook.webhook_id, before=before, limit=limit)
    return answer_page(
        "deliveries", page, DeliveryDocument.model_validate, limit=limit, position=lambda each: each.delivery_id
    )


def _with_secret(webhook: Webhook, secret: str) -> NewSecretDocument:
    document = WebhookDocument.model_validate(webhook)
    return NewSecretDocument(**document.model_dump(), secret=secret)


@logged
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer an HTTP event."""
    return api.answer(event, context)

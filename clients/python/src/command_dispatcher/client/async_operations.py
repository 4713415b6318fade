"""The operations of the API, as methods to await.  Written by `make generated` from the OpenAPI document."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from command_dispatcher.client.async_transport import AsyncGroup, AsyncPages, AsyncTransport
from command_dispatcher.client.core import UNSET, Unset, members, request
from command_dispatcher.client.lazily import Lazily

if TYPE_CHECKING:
    from command_dispatcher.client import models
else:
    models = Lazily("command_dispatcher.client.models")


class AsyncAgents(AsyncGroup):
    """Operations on agents."""

    def list(
        self,
        *,
        presence: Literal["online", "degraded", "offline"] | None = None,
        approval: Literal["pending", "approved", "rejected"] | None = None,
        platform: str | None = None,
        selector: str | None = None,
        backlog: bool | None = None,
        search: str | None = None,
        sort: Literal["id", "oldestDue"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> "AsyncPages[models.AgentInfo]":
        """List agents, ordered by id, or by how long something waits for them.

        A page may end before its limit, because of its size or because no index fits the filter: go on while there is a
        nextCursor.
        """
        return self._pages(
            "agents",
            lambda item: models.AgentInfo.of(item),
            request(
                "GET",
                "/api/v1/agents",
                query={
                    "presence": presence,
                    "approval": approval,
                    "platform": platform,
                    "selector": selector,
                    "backlog": backlog,
                    "search": search,
                    "sort": sort,
                    "limit": limit,
                    "cursor": cursor,
                },
            ),
        )

    async def create(
        self, *, agent_id: str, platform: str, region: str | Unset = UNSET, labels: Mapping[str, str] | Unset = UNSET
    ) -> "models.NewAgent":
        """Create an agent and its first key; the key is shown once."""
        return models.NewAgent.of(
            await self._run(
                request(
                    "POST",
                    "/api/v1/agents",
                    body=members(agent_id=agent_id, platform=platform, region=region, labels=labels),
                )
            )
        )

    async def get(self, agent_id: str) -> "models.AgentInfo":
        """Read an agent."""
        return models.AgentInfo.of(await self._run(request("GET", "/api/v1/agents/{}", agent_id)))

    async def delete(self, agent_id: str) -> None:
        """Delete an agent; its commands and their history stay."""
        await self._run(request("DELETE", "/api/v1/agents/{}", agent_id))

    async def change(
        self,
        agent_id: str,
        *,
        labels: Mapping[str, str | None] | Unset | None = UNSET,
        region: str | Unset | None = UNSET,
    ) -> "models.AgentInfo":
        """Change the labels and the region of an agent, by a JSON Merge Patch.

        With `If-Match`, only if nobody has changed them since the answer with this `ETag`.
        """
        return models.AgentInfo.of(
            await self._run(request("PATCH", "/api/v1/agents/{}", agent_id, body=members(labels=labels, region=region)))
        )

    async def approve(self, agent_id: str) -> "models.AgentInfo":
        """Approve an agent."""
        return models.AgentInfo.of(await self._run(request("POST", "/api/v1/agents/{}/approve", agent_id)))

    def events(
        self, agent_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> "AsyncPages[models.Event]":
        """Read when an agent connected, disconnected, was approved and so on, newest first; not the events of its commands."""
        return self._pages(
            "events",
            lambda item: models.Event.of(item),
            request("GET", "/api/v1/agents/{}/events", agent_id, query={"limit": limit, "cursor": cursor}),
        )

    def keys(self, agent_id: str, *, limit: int | None = None, cursor: str | None = None) -> "AsyncPages[models.Key]":
        """List an agent's valid keys, without the keys themselves."""
        return self._pages(
            "keys",
            lambda item: models.Key.of(item),
            request("GET", "/api/v1/agents/{}/keys", agent_id, query={"limit": limit, "cursor": cursor}),
        )

    async def issue_key(self, agent_id: str) -> "models.NewKey":
        """Give an agent one more key, for a rotation; the key is shown once."""
        return models.NewKey.of(await self._run(request("POST", "/api/v1/agents/{}/keys", agent_id)))

    async def revoke_key(self, agent_id: str, key_id: str) -> None:
        """Revoke a key and close the connections that it opened."""
        await self._run(request("DELETE", "/api/v1/agents/{}/keys/{}", agent_id, key_id))

    async def reject(self, agent_id: str) -> "models.AgentInfo":
        """Reject an agent; its connections are closed."""
        return models.AgentInfo.of(await self._run(request("POST", "/api/v1/agents/{}/reject", agent_id)))

    async def why(self, agent_id: str) -> "models.AgentWhy":
        """Compute the one reason why an agent has nothing delivered, and what would unblock it."""
        return models.AgentWhy.of(await self._run(request("GET", "/api/v1/agents/{}/why", agent_id)))


class AsyncAudit(AsyncGroup):
    """Operations on audit."""

    def list(
        self,
        *,
        agent_id: str | None = None,
        command_id: str | None = None,
        actor: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> "AsyncPages[models.AuditEntry]":
        """Read the audit log, newest first: who did what to which agent and command, and from where."""
        return self._pages(
            "entries",
            lambda item: models.AuditEntry.of(item),
            request(
                "GET",
                "/api/v1/audit",
                query={"agentId": agent_id, "commandId": command_id, "actor": actor, "limit": limit, "cursor": cursor},
            ),
        )


class AsyncCommands(AsyncGroup):
    """Operations on commands."""

    async def submit(
        self,
        agent_id: str,
        *,
        action: str,
        idempotency_key: str | None = None,
        payload: Any = UNSET,
        session_id: str | Unset = UNSET,
        priority: int | Unset = UNSET,
        ttl_seconds: int | Unset = UNSET,
        execution_timeout_seconds: int | Unset = UNSET,
        max_attempts: int | Unset = UNSET,
        not_before: datetime | Unset = UNSET,
        redeliver: Literal["afterAck"] | Unset = UNSET,
    ) -> "models.CommandInfo":
        """Submit a command for one agent."""
        return models.CommandInfo.of(
            await self._run(
                request(
                    "POST",
                    "/api/v1/agents/{}/commands",
                    agent_id,
                    body=members(
                        action=action,
                        payload=payload,
                        session_id=session_id,
                        priority=priority,
                        ttl_seconds=ttl_seconds,
                        execution_timeout_seconds=execution_timeout_seconds,
                        max_attempts=max_attempts,
                        not_before=not_before,
                        redeliver=redeliver,
                    ),
                    idempotency_key=idempotency_key,
                    keyed=True,
                )
            )
        )

    def list(
        self,
        *,
        agent_id: str | None = None,
        session_id: str | None = None,
        status: "Sequence[models.Status] | None" = None,
        action: str | None = None,
        submitted_by: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        selector: str | None = None,
        include: Sequence[Literal["payload", "result", "progress"]] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> "AsyncPages[models.CommandItem]":
        """List commands, newest first.

        A page may end before its limit, because of its size or because no index fits the filter: go on while there is a
        nextCursor.
        """
        return self._pages(
            "commands",
            lambda item: models.CommandItem.of(item),
            request(
                "GET",
                "/api/v1/commands",
                query={
                    "agentId": agent_id,
                    "sessionId": session_id,
                    "status": status,
                    "action": action,
                    "submittedBy": submitted_by,
                    "since": since,
                    "until": until,
                    "selector": selector,
                    "include": include,
                    "limit": limit,
                    "cursor": cursor,
                },
            ),
        )

    async def submit_many(
        self, *, commands: "Sequence[models.NewCommand]", idempotency_key: str | None = None
    ) -> "models.AcceptedList":
        """Submit a list of commands, all or none; an idempotency key covers the whole list.

        A list that does not have its form is refused with the first command that is wrong.
        """
        return models.AcceptedList.of(
            await self._run(
                request("POST", "/api/v1/commands", body=commands, idempotency_key=idempotency_key, keyed=True)
            )
        )

    async def cancel_matching(
        self,
        *,
        filter: "models.CommandFilter",
        expected_count: int | Unset = UNSET,
        dry_run: bool | Unset = UNSET,
        reason: str | Unset = UNSET,
    ) -> "models.Bulk":
        """Cancel all commands that a filter means, up to 10,000.

        Only those that are pending, sent or acknowledged match, and those that have timed out if `status` names them.
        """
        return models.Bulk.of(
            await self._run(
                request(
                    "POST",
                    "/api/v1/commands/cancel",
                    body=members(filter=filter, expected_count=expected_count, dry_run=dry_run, reason=reason),
                )
            )
        )

    async def redrive_matching(
        self,
        *,
        filter: "models.CommandFilter",
        expected_count: int | Unset = UNSET,
        dry_run: bool | Unset = UNSET,
        reason: str | Unset = UNSET,
    ) -> "models.Bulk":
        """Submit all commands again that a filter means and that ended without success, up to 10,000.

        A command that was redriven before does not match, so it is safe to repeat the request.
        """
        return models.Bulk.of(
            await self._run(
                request(
                    "POST",
                    "/api/v1/commands/redrive",
                    body=members(filter=filter, expected_count=expected_count, dry_run=dry_run, reason=reason),
                )
            )
        )

    async def get(self, command_id: str) -> "models.CommandInfo":
        """Read a command."""
        return models.CommandInfo.of(await self._run(request("GET", "/api/v1/commands/{}", command_id)))

    async def cancel(self, command_id: str) -> "models.CommandInfo":
        """Cancel a pending command at once; ask the agent to stop a command that is under way."""
        return models.CommandInfo.of(await self._run(request("POST", "/api/v1/commands/{}/cancel", command_id)))

    def history(
        self, command_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> "AsyncPages[models.HistoryEntry]":
        """Read each transition of a command, oldest first, with its cause."""
        return self._pages(
            "history",
            lambda item: models.HistoryEntry.of(item),
            request("GET", "/api/v1/commands/{}/history", command_id, query={"limit": limit, "cursor": cursor}),
        )

    async def redrive(
        self, command_id: str, *, idempotency_key: str | None = None, ttl_seconds: int | Unset = UNSET
    ) -> "models.CommandInfo":
        """Submit a command that ended without success again, as a new command.

        It gets the same time for its delivery as the old one, or `ttlSeconds`.
        """
        return models.CommandInfo.of(
            await self._run(
                request(
                    "POST",
                    "/api/v1/commands/{}/redrive",
                    command_id,
                    body=members(ttl_seconds=ttl_seconds),
                    idempotency_key=idempotency_key,
                    keyed=True,
                )
            )
        )

    async def why(self, command_id: str) -> "models.Why":
        """Compute the one reason why a command is where it is."""
        return models.Why.of(await self._run(request("GET", "/api/v1/commands/{}/why", command_id)))


class AsyncEnrolmentTokens(AsyncGroup):
    """Operations on enrolment tokens."""

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> "AsyncPages[models.EnrolmentToken]":
        """List the enrolment tokens that are valid, without the tokens themselves."""
        return self._pages(
            "enrolmentTokens",
            lambda item: models.EnrolmentToken.of(item),
            request("GET", "/api/v1/enrolment-tokens", query={"limit": limit, "cursor": cursor}),
        )

    async def create(
        self,
        *,
        agent_id: str | Unset = UNSET,
        prefix: str | Unset = UNSET,
        labels: Mapping[str, str] | Unset = UNSET,
        approved: bool | Unset = UNSET,
        uses: int | Unset = UNSET,
        ttl_seconds: int | Unset = UNSET,
        reusable: bool | Unset = UNSET,
    ) -> "models.NewEnrolmentToken":
        """Create an enrolment token; it is shown once."""
        return models.NewEnrolmentToken.of(
            await self._run(
                request(
                    "POST",
                    "/api/v1/enrolment-tokens",
                    body=members(
                        agent_id=agent_id,
                        prefix=prefix,
                        labels=labels,
                        approved=approved,
                        uses=uses,
                        ttl_seconds=ttl_seconds,
                        reusable=reusable,
                    ),
                )
            )
        )

    async def get(self, token_id: str) -> "models.EnrolmentToken":
        """Read an enrolment token that is valid, without the token itself."""
        return models.EnrolmentToken.of(await self._run(request("GET", "/api/v1/enrolment-tokens/{}", token_id)))

    async def revoke(self, token_id: str) -> None:
        """Revoke an enrolment token; agents that have enrolled with it keep their keys."""
        await self._run(request("DELETE", "/api/v1/enrolment-tokens/{}", token_id))


class AsyncEvents(AsyncGroup):
    """Operations on events."""

    async def read(
        self,
        *,
        after: str | None = None,
        latest: int | None = None,
        types: "Sequence[models.EventType] | None" = None,
        agent_id: str | None = None,
        selector: str | None = None,
        limit: int | None = None,
        wait: int | None = None,
    ) -> "models.EventPage":
        """Read the change feed, in order: no event is left out.

        A page may be empty although more events follow, if the filter wants none of those that were looked at.  Where too many
        requests wait, the answer comes at once, with the header Retry-After.
        """
        return models.EventPage.of(
            await self._run(
                request(
                    "GET",
                    "/api/v1/events",
                    query={
                        "after": after,
                        "latest": latest,
                        "types": types,
                        "agentId": agent_id,
                        "selector": selector,
                        "limit": limit,
                        "wait": wait,
                    },
                )
            )
        )


class AsyncOperators(AsyncGroup):
    """Operations on operators."""

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> "AsyncPages[models.Operator]":
        """List the operators that have an account here, ordered by name."""
        return self._pages(
            "operators",
            lambda item: models.Operator.of(item),
            request("GET", "/api/v1/operators", query={"limit": limit, "cursor": cursor}),
        )

    async def put(
        self,
        username: str,
        *,
        password: str,
        role: Literal["reader", "sender", "admin"],
        labels: Mapping[str, str] | Unset = UNSET,
    ) -> "models.Operator":
        """Create an operator, or give an existing one this password, role and label limit; fewer rights end their tokens."""
        return models.Operator.of(
            await self._run(
                request(
                    "PUT", "/api/v1/operators/{}", username, body=members(password=password, role=role, labels=labels)
                )
            )
        )

    async def disable(self, username: str) -> None:
        """Disable an operator and end their tokens."""
        await self._run(request("DELETE", "/api/v1/operators/{}", username))


class AsyncSessions(AsyncGroup):
    """Operations on sessions."""

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> "AsyncPages[models.SessionInfo]":
        """List sessions, ordered by name."""
        return self._pages(
            "sessions",
            lambda item: models.SessionInfo.of(item),
            request("GET", "/api/v1/sessions", query={"limit": limit, "cursor": cursor}),
        )

    async def start(
        self,
        *,
        user: str,
        template: str,
        idempotency_key: str | None = None,
        resources: "models.Resources | Unset" = UNSET,
        persistent_home: bool | Unset = UNSET,
        agent_id: str | Unset = UNSET,
        template_manifest: Mapping[str, Any] | Unset = UNSET,
    ) -> "models.StartedSession":
        """Start a session at an agent; without an agent's id one is chosen."""
        return models.StartedSession.of(
            await self._run(
                request(
                    "POST",
                    "/api/v1/sessions",
                    body=members(
                        user=user,
                        template=template,
                        resources=resources,
                        persistent_home=persistent_home,
                        agent_id=agent_id,
                        template_manifest=template_manifest,
                    ),
                    idempotency_key=idempotency_key,
                    keyed=True,
                )
            )
        )

    async def get(self, name: str) -> "models.SessionInfo":
        """Read a session."""
        return models.SessionInfo.of(await self._run(request("GET", "/api/v1/sessions/{}", name)))

    async def stop(self, name: str, *, idempotency_key: str | None = None) -> "models.CommandInfo | models.SessionInfo":
        """Stop a session.

        A session that is terminated is answered with 200 and the session; no command is submitted.
        """
        found = await self._run(
            request("DELETE", "/api/v1/sessions/{}", name, idempotency_key=idempotency_key, keyed=True)
        )
        return models.CommandInfo.of(found) if "commandId" in found else models.SessionInfo.of(found)

    async def hibernate(self, name: str, *, idempotency_key: str | None = None) -> "models.CommandInfo":
        """Hibernate a session."""
        return models.CommandInfo.of(
            await self._run(
                request("POST", "/api/v1/sessions/{}/hibernate", name, idempotency_key=idempotency_key, keyed=True)
            )
        )

    async def wake(self, name: str, *, idempotency_key: str | None = None) -> "models.CommandInfo":
        """Wake a hibernated session."""
        return models.CommandInfo.of(
            await self._run(
                request("POST", "/api/v1/sessions/{}/wake", name, idempotency_key=idempotency_key, keyed=True)
            )
        )


class AsyncTemplates(AsyncGroup):
    """Operations on templates."""

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> AsyncPages[Mapping[str, Any]]:
        """List the manifests of the templates, ordered by name."""
        return self._pages(
            "templates", dict, request("GET", "/api/v1/templates", query={"limit": limit, "cursor": cursor})
        )

    async def get(self, name: str) -> Mapping[str, Any]:
        """Read a template's manifest."""
        found: Mapping[str, Any] = await self._run(request("GET", "/api/v1/templates/{}", name))
        return found

    async def put(self, name: str, *, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """Store a template; sessions that are started later get the new manifest."""
        found: Mapping[str, Any] = await self._run(request("PUT", "/api/v1/templates/{}", name, body=document))
        return found

    async def delete(self, name: str) -> None:
        """Delete a template; sessions that were started from it go on."""
        await self._run(request("DELETE", "/api/v1/templates/{}", name))


class AsyncTokens(AsyncGroup):
    """Operations on tokens."""

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> "AsyncPages[models.ApiToken]":
        """List your API tokens that are valid, oldest first."""
        return self._pages(
            "tokens",
            lambda item: models.ApiToken.of(item),
            request("GET", "/api/v1/tokens", query={"limit": limit, "cursor": cursor}),
        )

    async def create(
        self, *, name: str, role: Literal["reader", "sender", "admin"], ttl_seconds: int | Unset = UNSET
    ) -> "models.NewApiToken":
        """Create an API token with your role or a lower one; it is shown once, and ends with the API token you send, if any."""
        return models.NewApiToken.of(
            await self._run(
                request("POST", "/api/v1/tokens", body=members(name=name, role=role, ttl_seconds=ttl_seconds))
            )
        )

    async def revoke(self, token_id: str) -> None:
        """Revoke one of your API tokens, and the tokens that were made with it."""
        await self._run(request("DELETE", "/api/v1/tokens/{}", token_id))


class AsyncWebhooks(AsyncGroup):
    """Operations on webhooks."""

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> "AsyncPages[models.Webhook]":
        """List webhooks, oldest first, without their secrets."""
        return self._pages(
            "webhooks",
            lambda item: models.Webhook.of(item),
            request("GET", "/api/v1/webhooks", query={"limit": limit, "cursor": cursor}),
        )

    async def create(
        self,
        *,
        url: str,
        types: "Sequence[models.EventType] | Unset" = UNSET,
        selector: str | Unset = UNSET,
        description: str | Unset = UNSET,
    ) -> "models.NewSecret":
        """Make a webhook that is told of events from now on; its secret is shown once."""
        return models.NewSecret.of(
            await self._run(
                request(
                    "POST",
                    "/api/v1/webhooks",
                    body=members(url=url, types=types, selector=selector, description=description),
                )
            )
        )

    async def get(self, webhook_id: str) -> "models.Webhook":
        """Read a webhook, without its secret."""
        return models.Webhook.of(await self._run(request("GET", "/api/v1/webhooks/{}", webhook_id)))

    async def delete(self, webhook_id: str) -> None:
        """Delete a webhook and its delivery log."""
        await self._run(request("DELETE", "/api/v1/webhooks/{}", webhook_id))

    async def change(
        self,
        webhook_id: str,
        *,
        url: str | Unset | None = UNSET,
        types: "Sequence[models.EventType] | Unset | None" = UNSET,
        selector: str | Unset | None = UNSET,
        description: str | Unset | None = UNSET,
        enabled: bool | Unset | None = UNSET,
        resume_from: Literal["stopped", "now", "start"] | Unset | None = UNSET,
    ) -> "models.Webhook":
        """Change a webhook, enable or disable it; from then on it has your rights, and no more than before."""
        return models.Webhook.of(
            await self._run(
                request(
                    "PATCH",
                    "/api/v1/webhooks/{}",
                    webhook_id,
                    body=members(
                        url=url,
                        types=types,
                        selector=selector,
                        description=description,
                        enabled=enabled,
                        resume_from=resume_from,
                    ),
                )
            )
        )

    def deliveries(
        self, webhook_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> "AsyncPages[models.Delivery]":
        """Read a webhook's delivery log, newest first: each try and its outcome."""
        return self._pages(
            "deliveries",
            lambda item: models.Delivery.of(item),
            request("GET", "/api/v1/webhooks/{}/deliveries", webhook_id, query={"limit": limit, "cursor": cursor}),
        )

    async def rotate_secret(self, webhook_id: str, *, overlap_seconds: int | Unset = UNSET) -> "models.NewSecret":
        """Give a webhook a new secret, which is shown once; the old one signs beside it for a while."""
        return models.NewSecret.of(
            await self._run(
                request("POST", "/api/v1/webhooks/{}/secret", webhook_id, body=members(overlap_seconds=overlap_seconds))
            )
        )

    async def test(self, webhook_id: str) -> "models.Trial":
        """Send a webhook a message of the type `webhook.test` now, and answer with what came of it."""
        return models.Trial.of(await self._run(request("POST", "/api/v1/webhooks/{}/test", webhook_id)))


class AsyncOperations(AsyncGroup):
    """Every operation of the API."""

    def __init__(self, transport: AsyncTransport) -> None:
        super().__init__(transport)
        self.agents = AsyncAgents(transport)
        self.audit = AsyncAudit(transport)
        self.commands = AsyncCommands(transport)
        self.enrolment_tokens = AsyncEnrolmentTokens(transport)
        self.events = AsyncEvents(transport)
        self.operators = AsyncOperators(transport)
        self.sessions = AsyncSessions(transport)
        self.templates = AsyncTemplates(transport)
        self.tokens = AsyncTokens(transport)
        self.webhooks = AsyncWebhooks(transport)

    async def log_in(self, *, username: str, password: str) -> "models.Token":
        """Exchange a password for a token."""
        return models.Token.of(
            await self._run(request("POST", "/api/v1/auth/login", body=members(username=username, password=password)))
        )

    async def check_for_loss(self) -> "models.LossReport":
        """Check the invariants on the live rows now, as the service itself does every five minutes."""
        return models.LossReport.of(await self._run(request("GET", "/api/v1/loss-check")))

    async def overview(self) -> "models.Overview":
        """Read the figures of the fleet: presence, statuses, what happens by minute, how long commands take.

        They are as of `at`.  In the series a minute is complete soon after its end; the latencies are those of the last hour.
        """
        return models.Overview.of(await self._run(request("GET", "/api/v1/overview")))

    async def health(self) -> "models.Health":
        """Tell whether the service works; it answers only if the database does."""
        return models.Health.of(await self._run(request("GET", "/healthz")))

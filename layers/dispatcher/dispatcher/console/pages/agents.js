// All agents: found by label, presence or a part of the id.
import { html, nothing, repeat } from "../vendor/lit.js";
import { call, list, may, segment } from "../api.js";
import { act, perform, showSecret } from "../dialogs.js";
import { agentLink, badge, empty, labelsOf, moment, pager, said, table } from "../parts.js";
import { choice, filters, given, labelValues, text, unique } from "../filters.js";
import { backlog } from "./overview.js";
import { editLabels, parseLabels } from "./labels.js";

const NAMES = ["search", "selector", "presence", "approval", "platform", "backlog"];

/** @param {Shell} shell @returns {Page} */
export function agentsPage(shell) {
  /** @type {Agent[]} */
  let agents = [];
  /** @type {string | null} */
  let next = null;
  return {
    title: "Agents",
    async load(signal) {
      const query = given(shell, [...NAMES, "cursor", "limit"]);
      ({ items: agents, next } = await list("/agents", "agents", query, signal));
    },
    view: () => html`
      ${filters(shell, NAMES, [
        text("search", "Id contains", shell),
        text("selector", "Labels", shell, { hint: "env=prod,tier in (a,b),!canary", values: labelValues(agents) }),
        choice("presence", "Presence", ["online", "degraded", "offline"], shell),
        choice("approval", "Approval", ["pending", "approved", "rejected"], shell),
        text("platform", "Platform", shell, { values: unique(agents.map(({ platform }) => platform)) }),
        choice("backlog", "Backlog", ["true", "false"], shell),
      ])}
      ${may("admin") ? html`<p class="buttons start">
        <button @click=${() => create(shell)}>Create an agent</button>
        ${agents.filter(waits).length > 1 ? html`<button @click=${() => approveAll(shell, agents.filter(waits))}>Approve all that wait here…</button>` : nothing}
      </p>` : nothing}
      ${agents.length
        ? table("Agents", ["Agent", "Presence", "Approval", "Labels", "Waiting", "Last seen", "Platform"], repeat(agents, (agent) => agent.agentId, (agent) => row(shell, agent)))
        : nothingHere(shell)}
      ${pager(shell, next)}`,
    concerns: ({ type }) => type.startsWith("agent.") || /\.(accepted|sent|completed|cancelled|expired|dead)$/.test(type),
    actions: () => (may("admin") ? [{ name: "Create an agent", run: () => create(shell) }] : []),
  };
}

/** @param {Shell} shell @param {Agent} agent */
const row = (shell, agent) => html`<tr>
  <td>${agentLink(agent.agentId)}</td>
  <td data-name="Presence">${badge(agent.presence)}</td>
  <td data-name="Approval">${badge(agent.approval)}${agent.approval === "pending" && may("admin")
    ? html` <button @click=${() => approve(shell, agent)}>Approve</button> <button @click=${() => reject(shell, agent)}>Reject</button>`
    : nothing}</td>
  <td data-name="Labels">${labelsOf(agent.labels)}${may("admin")
    ? html` <button class="quiet" aria-label="Edit the labels of ${agent.agentId}" @click=${() => editLabels(shell, agent)}>Edit</button>`
    : nothing}</td>
  <td data-name="Waiting" class="number">${agent.pendingCount ? html`<a href="/console/commands?agentId=${encodeURIComponent(agent.agentId)}&status=pending">${backlog(agent)}</a> <span class="hint">since ${moment(agent.oldestPendingAt)}</span>` : "0"}</td>
  <td data-name="Last seen">${moment(agent.lastSeenAt)}</td>
  <td data-name="Platform"><bdi>${agent.platform}</bdi></td>
</tr>`;

/** @param {Shell} shell */
const nothingHere = (shell) =>
  NAMES.some((name) => shell.place.query.has(name))
    ? empty("No agent matches these filters.", html`<a href="/console/agents">Show all agents</a>`)
    : empty(
        "There is no agent that you may see.",
        may("admin")
          ? html`<p>Create one here, or give it an enrolment token (Operators), and start it with its key.</p>`
          : html`<p>An admin creates agents; your label limit may hide others.</p>`,
      );

/** @param {Shell} shell @param {Agent} agent */
export const approve = (shell, agent) =>
  perform(shell, {
    title: `Approve ${agent.agentId}?`,
    text: html`<p>It may connect, and gets the commands that wait for it.</p>`,
    confirm: "Approve",
    run: (reason) => call("POST", `/agents/${segment(agent.agentId)}/approve`, { reason }),
  }, `${agent.agentId} is approved.`);

/** @param {Agent} agent */
const waits = ({ approval }) => approval === "pending";

/** @param {Shell} shell @param {Agent[]} agents */
function approveAll(shell, agents) {
  const left = new Set(agents);
  return perform(shell, {
    title: `Approve ${agents.length} agents?`,
    text: html`<p>${agents.slice(0, 10).map(({ agentId }) => html`${said(agentId)} `)}${agents.length > 10 ? "and others" : nothing}</p>`,
    confirm: `Approve ${agents.length} agents`,
    async run(reason) {
      // If one is refused, the next try goes on with it.
      for (const agent of left) {
        await call("POST", `/agents/${segment(agent.agentId)}/approve`, { reason });
        left.delete(agent);
      }
    },
  }, `${agents.length} agents are approved.`);
}

/** @param {Shell} shell @param {Agent} agent */
export const reject = (shell, agent) =>
  perform(shell, {
    title: `Reject ${agent.agentId}?`,
    text: html`<p>Its connections are closed. Commands for it go on waiting.</p>`,
    confirm: "Reject",
    danger: true,
    run: (reason) => call("POST", `/agents/${segment(agent.agentId)}/reject`, { reason }),
  }, `${agent.agentId} is rejected.`);

/** @param {Shell} shell */
async function create(shell) {
  /** @type {any} */
  let made;
  const done = await act({
    title: "Create an agent",
    confirm: "Create",
    fields: html`<label>Id <input name="agentId" required maxlength="128" pattern="[A-Za-z0-9][A-Za-z0-9._:@\\-]*" autocomplete="off" /></label>
      <label>Platform <input name="platform" required maxlength="128" value="linux" /></label>
      <label>Labels <input name="labels" placeholder="env=prod,zone=eu-1" autocomplete="off" /></label>`,
    async run(reason, form) {
      const body = { agentId: form.get("agentId"), platform: form.get("platform"), labels: parseLabels(String(form.get("labels"))) };
      made = await call("POST", "/agents", { body, reason });
    },
  });
  if (!done) return;
  await showSecret(`The key of ${made.agentId}`, made.apiKey);
  shell.go(`/console/agents/${encodeURIComponent(made.agentId)}`);
}

/** @param {Shell} shell @param {string} text */
export async function after(shell, text) {
  await shell.reload();
  shell.tell(text);
}

// All agents: found by label, presence or a part of the id.
import { html, nothing, repeat } from "../vendor/lit.js";
import { call, list, may } from "../api.js";
import { act, showSecret } from "../dialogs.js";
import { agentLink, badge, empty, moment, pager, table } from "../parts.js";
import { choice, completion, filters, given, text } from "../filters.js";
import { approve, chooseAction } from "./agent-actions.js";
import { manyApproved, manyKeys } from "./many.js";
import { backlog } from "./overview.js";
import { edits, giveUpLabels, labelsView, parseLabels, resumeLabels } from "./labels.js";

const NAMES = ["search", "selector", "presence", "approval", "platform", "backlog", "sort"];

/** @param {Shell} shell @returns {Page} */
export function agentsPage(shell) {
  /** @type {Agent[]} */
  let agents = [];
  /** @type {string | null} */
  let next = null;
  const labels = completion(shell, "label");
  const platforms = completion(shell, "platform");
  const matching = () => given(shell, NAMES.filter((name) => name !== "sort"));
  const actions = () => (!may("admin") ? [] : [
    { name: "Create an agent", run: () => void create(shell) },
    { name: "Approve all that wait and match", run: () => void manyApproved(shell, matching()) },
    { name: "Give all that match a new key", run: () => void manyKeys(shell, matching()) },
  ]);
  return {
    title: "Agents",
    async load(signal) {
      const query = given(shell, [...NAMES, "cursor", "limit"]);
      const edited = agents.filter(({ agentId }) => edits(agentId));
      ({ items: agents, next } = await list("/agents", "agents", query, signal));
      // Whose labels are being edited stays, also if it does not match any more.
      agents.unshift(...edited.filter((agent) => !agents.some(({ agentId }) => agentId === agent.agentId)));
      resumeLabels(agents);
    },
    view: () => html`
      ${filters(shell, NAMES, [
        text("search", "Id contains", shell),
        text("selector", "Labels", shell, { hint: "env=prod,tier in (a,b),!canary", completion: labels }),
        choice("presence", "Presence", ["online", "degraded", "offline"], shell),
        choice("approval", "Approval", ["pending", "approved", "rejected"], shell),
        text("platform", "Platform", shell, { completion: platforms }),
        choice("backlog", "Backlog", ["true", "false"], shell, { true: "commands wait", false: "nothing waits" }),
        choice("sort", "Order", ["oldestDue"], shell, { "": "by id", oldestDue: "longest waiting first" }),
      ])}
      ${actions().length ? html`<p class="buttons start">
        ${actions().map(({ name, run }) => html`<button @click=${run}>${name}${name.includes("all") ? "…" : ""}</button>`)}
      </p>` : nothing}
      ${agents.length
        ? table("Agents", ["Agent", "Presence", "Approval", "Labels", "Waiting", "Last seen", "Platform", ...(may("admin") ? ["Actions"] : [])], repeat(agents, (agent) => agent.agentId, (agent) => row(shell, agent)))
        : nothingHere(shell)}
      ${pager(shell, next)}`,
    concerns: ({ type }) => type.startsWith("agent.") || /\.(accepted|sent|completed|cancelled|expired|dead)$/.test(type),
    actions,
    close: giveUpLabels,
  };
}

/** @param {Shell} shell @param {Agent} agent */
const row = (shell, agent) => html`<tr>
  <td>${agentLink(agent.agentId)}</td>
  <td data-name="Presence">${badge(agent.presence)}</td>
  <td data-name="Approval">${badge(agent.approval)}${agent.approval === "pending" && may("admin")
    ? html` <button @click=${() => approve(shell, agent)}>Approve</button>`
    : nothing}</td>
  <td data-name="Labels" class=${edits(agent.agentId) ? "whole" : ""}>${labelsView(shell, agent)}</td>
  <td data-name="Waiting" class="number">${agent.pendingCount ? html`<a href="/console/commands?agentId=${encodeURIComponent(agent.agentId)}&status=pending">${backlog(agent)}</a> <span class="hint">since ${moment(agent.oldestPendingAt)}</span>` : "0"}</td>
  <td data-name="Last seen">${moment(agent.lastSeenAt)}</td>
  <td data-name="Platform"><bdi>${agent.platform}</bdi></td>
  ${may("admin") ? html`<td><button aria-label="Actions for ${agent.agentId}" @click=${() => void chooseAction(shell, agent)}>…</button></td>` : nothing}
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

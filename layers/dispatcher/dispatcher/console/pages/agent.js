// One agent: why it has nothing delivered, its queue in order, the timeline of its connections, its keys.
import { html, nothing, repeat } from "../vendor/lit.js";
import { call, get, may, segment } from "../api.js";
import { perform } from "../dialogs.js";
import { badge, commandLink, count, empty, json, moment, said, table, whyView } from "../parts.js";
import { agentActions, rotate } from "./agent-actions.js";
import { giveUpLabels, labelsView, resumeLabels } from "./labels.js";
import { describe } from "./changes.js";
import { backlog } from "./overview.js";

const QUEUE_MOST = 1000;
const SHOWN = 25;

/** @param {Shell} shell @returns {Page} */
export function agentPage(shell) {
  const id = shell.place.item;
  const path = `/agents/${segment(id)}`;
  /** @type {Agent} */
  let agent;
  /** @type {Why} */
  let why;
  /** @type {Command[]} */
  let queue = [];
  /** @type {Command[]} */
  let latest = [];
  /** @type {FeedEvent[]} */
  let timeline = [];
  /** @type {{keyId: string, createdAt: string, createdBy: string | null}[]} */
  let keys = [];

  const actions = () => (agent ? agentActions(shell, agent, () => shell.go("/console/agents")) : []);

  /** @param {string} keyId */
  const revoke = (keyId) => perform(shell, {
    title: `Revoke a key of ${id}?`,
    text: html`<p>Connections that were opened with the key ${keyId} are closed.</p>`,
    confirm: "Revoke",
    danger: true,
    run: (reason) => call("DELETE", `${path}/keys/${segment(keyId)}`, { reason }),
  }, "The key is revoked.");

  const facts = () => html`<section class="card">
    <h2>Facts</h2>
    <dl class="facts">
      <dt>Presence</dt><dd>${badge(agent.presence)} ${agent.presence === "online" ? nothing : html`<span class="hint">last seen ${moment(agent.lastSeenAt)}</span>`}</dd>
      <dt>Approval</dt><dd>${badge(agent.approval)}</dd>
      <dt>Labels</dt><dd>${labelsView(shell, agent)}</dd>
      <dt>Platform</dt><dd>${said(agent.platform)}</dd>
      <dt>Region</dt><dd>${agent.region ? said(agent.region) : html`<span class="none">none</span>`}</dd>
      <dt>Connected</dt><dd>${moment(agent.connectedAt)}</dd>
      <dt>Registered</dt><dd>${moment(agent.registeredAt)}</dd>
      <dt>Created</dt><dd>${moment(agent.createdAt)}</dd>
    </dl>
  </section>`;

  const queueView = () => html`<section class="card">
    <h2>Queue, in the order of delivery: ${backlog(agent)}</h2>
    ${queue.length
      ? table("Commands that wait for this agent", ["Place", "Command", "Action", "Priority", "Accepted", "Not before"], repeat(queue.slice(0, SHOWN), ({ commandId }) => commandId, (command, index) => html`<tr>
          <td class="number">${index + 1}</td><td>${commandLink(command.commandId)}</td><td data-name="Action">${said(command.action)}</td>
          <td data-name="Priority" class="number">${command.priority}</td><td data-name="Accepted">${moment(command.createdAt)}</td>
          <td data-name="Not before">${command.notBefore ? moment(command.notBefore) : "–"}</td>
        </tr>`))
      : empty("No command waits for this agent.")}
    ${queue.length > SHOWN
      ? html`<a href="/console/commands?agentId=${encodeURIComponent(id)}&status=pending">All ${count(queue.length)} of them</a>`
      : nothing}
  </section>`;

  const keysView = () => html`<section class="card">
    <h2>Keys</h2>
    ${keys.length
      ? table("Keys of this agent", ["Key", "Made", "By", "Action"], repeat(keys, ({ keyId }) => keyId, (key) => html`<tr>
          <td class="id">${key.keyId}</td><td data-name="Made">${moment(key.createdAt)}</td><td data-name="By">${said(key.createdBy ?? "itself")}</td>
          <td><button class="danger" @click=${() => revoke(key.keyId)}>Revoke</button></td>
        </tr>`))
      : empty("It has no key, so it cannot connect.")}
    <button @click=${() => rotate(shell, id)}>Give it a new key</button>
  </section>`;

  return {
    title: id,
    async load(signal) {
      const answers = await Promise.all([
        get(path, { signal }),
        get(`${path}/why`, { signal }),
        waiting(id, signal),
        get("/commands", { query: { agentId: id, limit: 10 }, signal }),
        get(`${path}/events`, { query: { limit: SHOWN }, signal }),
        may("admin") ? get(`${path}/keys`, { signal }) : { keys: [] },
      ]);
      [agent, why, queue] = answers;
      latest = answers[3].commands;
      timeline = answers[4].events;
      keys = answers[5].keys;
      resumeLabels([agent]);
    },
    view: () => html`
      ${whyView(why)}
      <div class="buttons start">
        ${may("sender") ? html`<a class="button primary" href="/console/send?agentId=${encodeURIComponent(id)}">Send a command</a>` : nothing}
        ${actions().map(({ name, run }) => html`<button class=${name.startsWith("Delete") ? "danger" : ""} @click=${run}>${name}</button>`)}
      </div>
      ${queueView()}
      <div class="columns">
        <div class="stack">
          ${facts()}
          <section class="card">
            <h2>Timeline</h2>
            ${timeline.length
              ? html`<ol class="changes">${timeline.map((event) => html`<li>${moment(event.at)} ${describe(event, true)}</li>`)}</ol>`
              : empty("Nothing is known about its connections in the last days.")}
          </section>
          ${may("admin") ? keysView() : nothing}
        </div>
        <div class="stack">
          <section class="card">
            <h2>Latest commands</h2>
            ${latest.length
              ? table("Latest commands of this agent", ["Command", "Action", "Status", "Accepted"], repeat(latest, ({ commandId }) => commandId, (command) => html`<tr>
                  <td>${commandLink(command.commandId)}</td><td data-name="Action">${said(command.action)}</td>
                  <td data-name="Status">${badge(command.status)}</td><td data-name="Accepted">${moment(command.createdAt)}</td>
                </tr>`))
              : empty("It was never sent a command.")}
            <a href="/console/commands?agentId=${encodeURIComponent(id)}">All of its commands</a>
          </section>
          ${json("What it reports of itself", { facts: agent.facts, capacity: agent.capacity, metadata: agent.metadata })}
        </div>
      </div>`,
    concerns: (event) => event.agentId === id,
    actions,
    close: giveUpLabels,
  };
}

/**
 * Reads the queue of an agent in the order of delivery; the list's order is another one.
 * @param {string} id
 * @param {AbortSignal} signal
 * @returns {Promise<Command[]>}
 */
async function waiting(id, signal) {
  /** @type {Command[]} */
  const found = [];
  let cursor;
  do {
    const page = await get("/commands", { query: { agentId: id, status: "pending", limit: 200, cursor }, signal });
    found.push(...page.commands);
    cursor = page.nextCursor;
  } while (cursor && found.length < QUEUE_MOST);
  // Sorting is stable, and the list has the newest first.
  return found.reverse().sort((one, other) => other.priority - one.priority);
}

// The first screen: who is away, what is stuck, what has just changed.
import { html, nothing, ref, repeat } from "../vendor/lit.js";
import { get, list, may, segment } from "../api.js";
import { chart } from "../chart.js";
import { agentLink, badge, commandLink, count, empty, moment, said, span, table } from "../parts.js";
import { describe } from "./changes.js";

const SERIES = /** @type {const} */ (["accepted", "sent", "completed", "failed"]);
const SHOWN = 8;
const LATEST = 12;
/** A connected agent gets its commands within seconds; what waits longer is stuck. */
const STUCK_SECONDS = 5;
const WHY_PERIOD = 10_000;
/** The list is not read again before so many times as long as it took. */
const REST = 20;
const ENDS = ["completed", "failed", "expired", "cancelled", "dead", "timed_out"].map((name) => `command.${name}`);
const OF_AGENTS = ["created", "deleted", "approved", "rejected", "connected", "disconnected", "offline"].map((name) => `agent.${name}`);
/** What has just changed: the attempts and acks of a command are on its own page. @type {Record<string, {name: string, types: string[]}>} */
const KINDS = {
  "": { name: "All", types: [...OF_AGENTS, "command.accepted", "command.pending", ...ENDS] },
  agents: { name: "Agents", types: OF_AGENTS },
  ends: { name: "Ends", types: ENDS },
  trouble: {
    name: "Trouble",
    types: ["agent.disconnected", "agent.offline", "agent.rejected", "command.failed", "command.dead", "command.timed_out", "command.expired"],
  },
};
const STAGES = /** @type {const} */ ([
  ["acceptedToSent", "Accepted → sent"],
  ["sentToAcknowledged", "Sent → acknowledged"],
  ["acknowledgedToEnded", "Acknowledged → ended"],
]);

/** @param {Shell} shell @returns {Page} */
export function overviewPage(shell) {
  /** @type {Overview} */
  let figures;
  /** @type {Agent[]} */
  let waiting = [];
  /** @type {Map<string, {why: Why | null, at: number}>} */
  const whys = new Map();
  let readAgainAt = 0;
  let tabular = false;
  /** @type {Command[]} */
  let ended = [];
  /** @type {FeedEvent[]} */
  let latest = [];
  const lines = chart(SERIES.map((name) => ({ name, tone: { accepted: "wait", sent: "busy", completed: "good", failed: "bad" }[name] })));

  /**
   * Reads the agents for which something waits longest: first those that are connected, for nothing holds up the others.
   * @param {AbortSignal} signal
   * @returns {Promise<Agent[]>}
   */
  async function stuck(signal) {
    if (Date.now() < readAgainAt) return waiting;
    const began = Date.now();
    const ask = async (/** @type {string} */ presence) =>
      /** @type {Agent[]} */ ((await list("/agents", "agents", { sort: "oldestDue", presence, limit: SHOWN + 1 }, signal)).items);
    const [online, degraded, offline] = await Promise.all([ask("online"), ask("degraded"), ask("offline")]);
    readAgainAt = Date.now() + REST * (Date.now() - began);
    const connected = [...online, ...degraded].filter((agent) => secondsSince(agent.oldestPendingAt) > STUCK_SECONDS);
    return [...connected.sort(byWait), ...offline];
  }

  /** Asks why the agents that are shown do not get their commands. @param {AbortSignal} signal */
  async function explain(signal) {
    const asked = waiting.slice(0, SHOWN).filter(({ agentId }) => Date.now() - (whys.get(agentId)?.at ?? 0) > WHY_PERIOD);
    await Promise.all(asked.map(async ({ agentId }) => {
      const why = await get(`/agents/${segment(agentId)}/why`, { signal }).catch(() => null);
      if (!signal.aborted) whys.set(agentId, { why, at: Date.now() });
    }));
    shell.redraw();
  }

  const kind = () => /** @type {{name: string, types: string[]}} */ (KINDS[shell.place.query.get("changes") ?? ""] ?? KINDS[""]);

  /** The service's figure is of its last check, and of connected agents; the list may know of an older one. */
  const oldestDue = () => Math.max(
    figures.oldestDueSeconds, ...waiting.filter(({ presence }) => presence !== "offline").map(({ oldestPendingAt }) => secondsSince(oldestPendingAt)),
  );

  return {
    title: "Overview",
    async load(signal) {
      const since = new Date(Date.now() - 86_400_000).toISOString();
      const wrong = { status: "dead,timed_out,failed,expired", since, limit: 8 };
      const answers = await Promise.all([
        get("/overview", { signal }),
        stuck(signal),
        get("/commands", { query: wrong, signal }),
        get("/events", { query: { latest: LATEST, types: kind().types.join(",") }, signal }),
      ]);
      figures = answers[0];
      waiting = answers[1];
      void explain(signal);
      ended = answers[2].commands;
      latest = answers[3].events.toReversed();
      lines.show(figures.series.map((each) => [Date.parse(each.minute) / 1000, ...SERIES.map((name) => each[name])]));
    },
    view: () => html`
      <ul class="tiles">
        ${tile("Offline", figures.agents.offline, "/console/agents?presence=offline", figures.agents.offline ? "bad" : "good")}
        ${tile("Degraded", figures.agents.degraded, "/console/agents?presence=degraded", figures.agents.degraded ? "warn" : "")}
        ${tile("Online", figures.agents.online, "/console/agents?presence=online", "good")}
        ${tile("Waiting", figures.commands.pending ?? 0, "/console/commands?status=pending", "")}
        ${tile("Oldest due", oldestDue() ? span(oldestDue()) : "none", "/console/agents?sort=oldestDue", oldestDue() > 120 ? "bad" : "")}
        ${tile("Under way", (figures.commands.sent ?? 0) + (figures.commands.acknowledged ?? 0), "/console/commands?status=sent,acknowledged", "")}
        ${tile("Dead in 24 h", figures.deadLast24h, "/console/commands?status=dead", figures.deadLast24h ? "bad" : "good")}
      </ul>
      <div class="columns">
        <div class="stack">
        <section class="card">
          <h2>Stuck: for whom commands wait, the longest first</h2>
          ${waiting.length
            ? table("Agents for which commands wait", ["Agent", "Why", "Waiting", "Since"], repeat(waiting.slice(0, SHOWN), ({ agentId }) => agentId, (agent) => html`<tr>
                <td>${agentLink(agent.agentId)}</td>
                <td>${badge(agent.presence)}${sentence(agent, whys.get(agent.agentId)?.why)}</td>
                <td data-name="Waiting" class="number">${backlog(agent)}</td><td data-name="Since">${moment(agent.oldestPendingAt)}</td>
              </tr>`))
            : empty("No command waits for an agent.")}
          ${waiting.length > SHOWN ? html`<a href="/console/agents?backlog=true&sort=oldestDue">All agents with a backlog</a>` : nothing}
        </section>
        <section class="card">
          <h2>What has just changed</h2>
          <nav class="kinds" aria-label="Which changes">${Object.entries(KINDS).map(([key, { name }]) => html`<a
            href="/console/${key ? `?changes=${key}` : ""}" aria-current=${kind() === KINDS[key] ? "true" : nothing}>${name}</a>`)}</nav>
          ${latest.length
            ? html`<ol class="changes">${repeat(latest, ({ id }) => id, (event) => html`<li>${moment(event.at)} ${describe(event)}</li>`)}</ol>`
            : empty("Nothing of this kind has happened lately.", may("sender") ? html`<a href="/console/send">Send a command</a>` : nothing)}
        </section>
        </div>
        <div class="stack">
        <section class="card">
          <h2>Ended without success in 24 hours</h2>
          ${ended.length
            ? table("Commands that ended without success", ["Command", "Status", "Why", "At"], repeat(ended, ({ commandId }) => commandId, (command) => html`<tr>
                <td>${commandLink(command.commandId)} <span class="hint">${said(command.action)}</span></td>
                <td>${badge(command.status)}</td><td class="clip">${said(command.errorMessage ?? command.cause)}</td>
                <td>${moment(command.completedAt)}</td>
              </tr>`))
            : empty("Every command of the last day that ended was completed or cancelled.")}
        </section>
        <section class="card">
          <h2>How long it takes</h2>
          ${table("Percentiles of the commands that ended in the last hour", ["From → to", "p50", "p95", "p99"], STAGES.map(([key, name]) => html`<tr>
            <th scope="row">${name}</th>
            ${/** @type {const} */ (["p50", "p95", "p99"]).map((part) => html`<td data-name=${part} class="number">${span(figures.latency[key]?.[part])}</td>`)}
          </tr>`))}
        </section>
        </div>
        <section class="card wide">
          <h2>By minute, in the last hour</h2>
          <div class="chart" ${ref(lines.attach)}></div>
          <details @toggle=${(/** @type {any} */ event) => { tabular = event.target.open; shell.redraw(); }}><summary>As a table</summary>
            ${!tabular ? nothing : table("Transitions by minute", ["Minute", ...SERIES], figures.series.toReversed().map((each) => html`<tr>
              <td>${moment(each.minute)}</td>${SERIES.map((name) => html`<td data-name=${name} class="number">${count(each[name])}</td>`)}
            </tr>`))}
          </details>
        </section>
      </div>
      <p class="hint">The figures are as of ${moment(figures.at)}.</p>`,
    concerns: () => true,
    close: lines.close,
  };
}

/** The reason, without what stands beside it. @param {Agent} agent @param {Why | null | undefined} why */
function sentence({ agentId, lastSeenAt }, why) {
  if (!why) return nothing;
  if (why.reason === "agent-away") return html` <span class="hint">${lastSeenAt ? html`last seen ${moment(lastSeenAt)}` : "never connected"}</span>`;
  const short = why.sentence.replace(/^Command \S+ is next\. /, "").replace(`Agent '${agentId}' `, "");
  return html`<div class="hint reason">${said(short.charAt(0).toUpperCase() + short.slice(1))}</div>`;
}

/** @param {string | null} iso */
const secondsSince = (iso) => (Date.now() - Date.parse(iso ?? "")) / 1000;

/** @param {Agent} one @param {Agent} other */
const byWait = (one, other) => String(one.oldestPendingAt).localeCompare(String(other.oldestPendingAt));

/** @param {Agent} agent */
export const backlog = (agent) => (agent.pendingCount >= 200 ? "200 or more" : count(agent.pendingCount));

/** @param {string} name @param {number | string} value @param {string} href @param {string} tone */
const tile = (name, value, href, tone) => html`<li class="tile ${tone}">
  <a href=${href}><span class="value">${typeof value === "number" ? count(value) : value}</span> <span class="name">${name}</span></a>
</li>`;

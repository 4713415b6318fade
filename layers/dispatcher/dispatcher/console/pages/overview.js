// The first screen: who is away, what is stuck, what has just changed.
import { html, nothing, ref } from "../vendor/lit.js";
import { get, segment } from "../api.js";
import { chart } from "../chart.js";
import { agentLink, badge, commandLink, count, empty, moment, said, span, table } from "../parts.js";
import { describe } from "./changes.js";

const SERIES = /** @type {const} */ (["accepted", "sent", "completed", "failed"]);
const SHOWN = 8;
const BACKLOG_MOST = 1000;
const BACKLOG_PERIOD = 15_000;
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
  /** @type {Map<string, Why | null>} */
  const whys = new Map();
  let more = false;
  let readAt = 0;
  /** @type {Command[]} */
  let ended = [];
  /** @type {Command[]} */
  let latest = [];
  const lines = chart(SERIES.map((name) => ({ name, tone: { accepted: "wait", sent: "busy", completed: "good", failed: "bad" }[name] })));

  /**
   * Reads the agents for which commands wait.  The list has them by id, so many are read, and not each time.
   * @param {AbortSignal} signal
   */
  async function withBacklog(signal) {
    if (Date.now() - readAt < BACKLOG_PERIOD) return waiting;
    /** @type {Agent[]} */
    const found = [];
    let cursor;
    do {
      const page = await get("/agents", { query: { backlog: true, limit: 200, cursor }, signal });
      found.push(...page.agents);
      cursor = page.nextCursor;
    } while (cursor && found.length < BACKLOG_MOST);
    more = Boolean(cursor);
    readAt = found.length > 200 ? Date.now() : 0;
    return found.sort((one, other) => rank(one).localeCompare(rank(other)));
  }

  /** Asks why an agent that could get its commands does not; the others are offline. @param {AbortSignal} signal */
  async function explain(signal) {
    const asked = waiting.slice(0, SHOWN).filter(({ presence }) => presence !== "offline");
    const reasons = await Promise.all(asked.map(({ agentId }) => get(`/agents/${segment(agentId)}/why`, { signal }).catch(() => null)));
    asked.forEach(({ agentId }, index) => whys.set(agentId, reasons[index]));
    shell.redraw();
  }

  return {
    title: "Overview",
    async load(signal) {
      const since = new Date(Date.now() - 86_400_000).toISOString();
      const wrong = { status: "dead,timed_out,failed,expired", since, limit: 8 };
      const answers = await Promise.all([
        get("/overview", { signal }),
        withBacklog(signal),
        get("/commands", { query: wrong, signal }),
        get("/commands", { query: { limit: 8 }, signal }),
      ]);
      figures = answers[0];
      waiting = answers[1];
      void explain(signal);
      ended = answers[2].commands;
      latest = answers[3].commands;
      lines.show(figures.series.map((each) => [Date.parse(each.minute) / 1000, ...SERIES.map((name) => each[name])]));
    },
    view: () => html`
      <ul class="tiles">
        ${tile("Offline", figures.agents.offline, "/console/agents?presence=offline", figures.agents.offline ? "bad" : "good")}
        ${tile("Degraded", figures.agents.degraded, "/console/agents?presence=degraded", figures.agents.degraded ? "warn" : "")}
        ${tile("Online", figures.agents.online, "/console/agents?presence=online", "good")}
        ${tile("Waiting", figures.commands.pending ?? 0, "/console/commands?status=pending", "")}
        ${tile("Oldest due", figures.oldestDueSeconds ? span(figures.oldestDueSeconds) : "none", "/console/agents?backlog=true&presence=online", figures.oldestDueSeconds > 120 ? "bad" : "")}
        ${tile("Under way", (figures.commands.sent ?? 0) + (figures.commands.acknowledged ?? 0), "/console/commands?status=sent,acknowledged", "")}
        ${tile("Dead in 24 h", figures.deadLast24h, "/console/commands?status=dead", figures.deadLast24h ? "bad" : "good")}
      </ul>
      <div class="columns">
        <div class="stack">
        <section class="card">
          <h2>Stuck: agents for which commands wait</h2>
          ${waiting.length
            ? table("Agents for which commands wait", ["Agent", "Why", "Waiting", "Since"], waiting.slice(0, SHOWN).map((agent) => html`<tr>
                <td>${agentLink(agent.agentId)}</td>
                <td>${badge(agent.presence)} ${whys.get(agent.agentId) ? html`<span class="hint">${said(whys.get(agent.agentId)?.sentence)}</span>` : nothing}</td>
                <td data-name="Waiting" class="number">${backlog(agent)}</td><td data-name="Since">${moment(agent.oldestPendingAt)}</td>
              </tr>`))
            : empty("No command waits for an agent.")}
          ${more ? html`<p class="hint">These are the longest of the first ${count(BACKLOG_MOST)} agents with a backlog.</p>` : nothing}
          ${waiting.length > SHOWN ? html`<a href="/console/agents?backlog=true">All agents with a backlog</a>` : nothing}
        </section>
        <section class="card">
          <h2>What has just changed</h2>
          ${changes(shell, latest)}
        </section>
        </div>
        <div class="stack">
        <section class="card">
          <h2>Ended without success in 24 hours</h2>
          ${ended.length
            ? table("Commands that ended without success", ["Command", "Status", "Why", "At"], ended.map((command) => html`<tr>
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
          <details><summary>As a table</summary>
            ${table("Transitions by minute", ["Minute", ...SERIES], figures.series.toReversed().map((each) => html`<tr>
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

/** For the order: whoever could get its commands goes first, then whoever waits longest. @param {Agent} agent */
const rank = ({ presence, oldestPendingAt }) => `${presence === "offline" ? 1 : 0} ${oldestPendingAt}`;

/** @param {Agent} agent */
export const backlog = (agent) => (agent.pendingCount >= 200 ? "200 or more" : count(agent.pendingCount));

/** @param {string} name @param {number | string} value @param {string} href @param {string} tone */
const tile = (name, value, href, tone) => html`<li class="tile ${tone}">
  <a href=${href}><span class="value">${typeof value === "number" ? count(value) : value}</span> <span class="name">${name}</span></a>
</li>`;

/** @param {Shell} shell @param {Command[]} latest */
function changes(shell, latest) {
  const events = shell.events().slice(0, 12);
  const known = new Set(events.map(({ commandId }) => commandId));
  const before = latest.filter(({ commandId }) => !known.has(commandId)).slice(0, 12 - events.length);
  if (!events.length && !latest.length) return empty("No command was submitted yet.", html`<a href="/console/send">Send the first one</a>`);
  return html`<ol class="changes">
    ${events.map((event) => html`<li>${moment(event.at)} ${describe(event)}</li>`)}
    ${before.map((command) => html`<li>${moment(command.createdAt)} ${said(command.submittedBy ?? "somebody")} submitted
      ${commandLink(command.commandId)} <span class="hint">${said(command.action)}</span> for ${agentLink(command.agentId)}</li>`)}
  </ol>`;
}

// What is done to all agents that match: approve them, or give each a new key.
import { html, nothing } from "../vendor/lit.js";
import { Problem, call, list, segment } from "../api.js";
import { act, open } from "../dialogs.js";
import { copy, count, said, save } from "../parts.js";
import { after } from "./agent-actions.js";

/** The most agents at once: each one is a request. */
const MOST = 1000;
const AT_A_TIME = 4;

/** @typedef {{agentId: string, problem: unknown}} Failure */

/**
 * Reads all agents that match, up to one more than MOST.
 * @param {Record<string, string>} query
 */
async function matching(query) {
  /** @type {Agent[]} */
  const found = [];
  let cursor = null;
  do {
    const page = await list("/agents", "agents", { ...query, limit: 200, cursor });
    found.push(...page.items);
    cursor = page.next;
  } while (cursor && found.length <= MOST);
  return found;
}

/**
 * Does something for each agent, a few at a time; goes on after a failure.
 * @param {Agent[]} agents
 * @param {(agent: Agent) => Promise<void>} run
 * @param {(done: number) => void} tell
 */
async function each(agents, run, tell) {
  /** @type {Failure[]} */
  const failures = [];
  const left = [...agents];
  let done = 0;
  await Promise.all(Array.from({ length: AT_A_TIME }, async () => {
    for (let agent = left.shift(); agent; agent = left.shift()) {
      const { agentId } = agent;
      await run(agent).catch((problem) => failures.push({ agentId, problem }));
      tell((done += 1));
    }
  }));
  return failures;
}

/**
 * Counts the agents, asks, does it, and says for whom it failed.
 * @param {Shell} shell
 * @param {Record<string, string>} query
 * @param {{nobody: string, title: (number: string) => string, text: string, confirm: (number: string) => string, run: (agent: Agent, reason: string) => Promise<void>, done: (number: number) => string, show?: () => Promise<unknown>}} words
 */
async function many(shell, query, { nobody, title, text, confirm, run, done, show }) {
  /** @type {Agent[]} */
  let agents = [];
  try {
    agents = await matching(query);
  } catch (problem) {
    return shell.tell(problem instanceof Problem ? problem.message : String(problem));
  }
  if (!agents.length) return shell.tell(nobody);
  const more = agents.length > MOST;
  agents = agents.slice(0, MOST);
  const number = count(agents.length);
  /** @type {Failure[]} */
  let failures = [];
  const did = await act({
    title: title(number),
    text: html`<p>${text}</p>
      <p class="clipped">${agents.slice(0, 10).map(({ agentId }) => html`${said(agentId)} `)}${agents.length > 10 ? `and ${count(agents.length - 10)} more` : nothing}</p>
      ${more ? html`<p>More match; these are the first ${number}.</p>` : nothing}`,
    confirm: confirm(number),
    async run(reason, _, tell) {
      failures = await each(agents, (agent) => run(agent, reason), (so) => tell(`${count(so)} of ${number}`));
    },
  });
  // Before anything else: a session that ends now may leave the page.
  await show?.();
  if (!did) return;
  await after(shell, done(agents.length - failures.length));
  if (failures.length) await failed(failures);
}

/** @param {Failure[]} failures */
const failed = (failures) => open(`${count(failures.length)} failed`, (close) => html`
  <ul class="failures">${failures.slice(0, 100).map(({ agentId, problem }) => html`<li>${said(agentId)}: ${said(problem instanceof Problem ? problem.message : problem)}</li>`)}</ul>
  <div class="buttons"><button class="primary" autofocus @click=${() => close(true)}>Close</button></div>`);

/** @param {Shell} shell @param {Record<string, string>} query */
export const manyApproved = (shell, query) => query.approval && query.approval !== "pending"
  ? shell.tell(`Nobody to approve: the filter shows only agents that are ${query.approval}.`)
  : many(shell, { ...query, approval: "pending" }, {
    nobody: "Nobody to approve: no agent that matches waits for approval.",
    title: (number) => `Approve ${number} ${number === "1" ? "agent" : "agents"}?`,
    text: "They may connect, and get the commands that wait for them.",
    confirm: (number) => `Approve ${number}`,
    run: (agent, reason) => call("POST", `/agents/${segment(agent.agentId)}/approve`, { reason }),
    done: (number) => `${count(number)} agents are approved.`,
  });

/** @param {Shell} shell @param {Record<string, string>} query */
export async function manyKeys(shell, query) {
  /** @type {string[]} */
  const keys = [];
  await many(shell, query, {
    nobody: "No agent matches.",
    title: (number) => `A new key for each of ${number} ${number === "1" ? "agent" : "agents"}?`,
    text: "The old keys stay valid: revoke them when the agents use the new ones. An agent can have two keys.",
    confirm: (number) => `Make ${number} ${number === "1" ? "key" : "keys"}`,
    async run(agent, reason) {
      const { apiKey } = await call("POST", `/agents/${segment(agent.agentId)}/keys`, { reason });
      keys.push(`${agent.agentId} ${apiKey}`);
    },
    done: (number) => `${count(number)} agents have a new key.`,
    show: async () => keys.length > 0 && showKeys(keys.sort().join("\n"), keys.length),
  });
}

/** @param {string} text @param {number} number */
function showKeys(text, number) {
  return open(`${count(number)} new keys`, (close, redraw, state) => {
    const take = () => copy(text).then(() => { state.done = true; redraw(); });
    return html`<p>Save them now: they are shown once. Each line is an agent and its key.</p>
      <pre class="secret" tabindex="0">${text}</pre>
      <p role="status">${state.done ? "Copied." : ""}</p>
      <div class="buttons">
        <button @click=${take} autofocus>Copy</button><button @click=${() => save("keys.txt", text)}>Save as a file</button>
        <button class="primary" @click=${() => close(true)}>I have saved them</button>
      </div>`;
  });
}

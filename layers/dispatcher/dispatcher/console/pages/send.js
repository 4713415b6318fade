// Send a command to one agent, or to all that a selector means; what it reaches is shown before.
import { html, nothing } from "../vendor/lit.js";
import { Problem, call, get, may, segment } from "../api.js";
import { act } from "../dialogs.js";
import { forget, keep, kept } from "../drafts.js";
import { badge, agentLink, commandLink, copyButton, count, moment, noRights, problemView, table } from "../parts.js";
import { completion, given, options } from "../filters.js";
import { asCurl, asDispatcher } from "./shells.js";

const LIST_MOST = 1000;
const REACH_MOST = 5000;
/** What is written and not sent yet is kept with its key, so that nothing is sent twice. */
const DRAFT = "send";

const NUMBERS = /** @type {const} */ (["priority", "ttlSeconds", "executionTimeoutSeconds", "maxAttempts"]);

/** @param {Shell} shell @returns {Page} */
export function sendPage(shell) {
  const last = kept(DRAFT);
  const draft = last?.query === String(shell.place.query) ? last : null;
  /** @type {string} */
  let payload = draft?.payload ?? shell.place.query.get("payload") ?? "{}";
  /** @type {string} */
  let action = draft?.action ?? shell.place.query.get("action") ?? "";
  /** @type {Record<string, string>} */
  let limits = draft?.limits ?? {};
  /** @type {Agent[]} */
  let reached = [];
  let more = false;
  /** @type {unknown} */
  let problem = null;
  const [agents, actions, labels] = /** @type {const} */ (["agent", "action", "label"]).map((of) => completion(shell, of));
  /** @param {import("../filters.js").Completion | undefined} completed */
  const asks = (completed) => (/** @type {any} */ event) => completed?.ask(event.target.value);
  /** @type {{commandId?: string, number: number} | null} */
  let sent = null;
  // A repeated click must not send twice; another command gets another key.
  /** @type {string} */
  let key = draft?.key ?? newKey();
  const keepIt = () => keep(DRAFT, { query: String(shell.place.query), payload, action, limits, key });

  const target = () => given(shell, ["agentId", "selector"]);
  const wrong = () => mistake(payload);
  const changed = () => {
    key = newKey();
    sent = null;
    shell.redraw();
    keepIt();
  };
  const reaches = (/** @type {Record<string, string | null>} */ changes) => {
    shell.filter(changes);
    changed();
  };

  const command = () => ({
    action,
    payload: JSON.parse(payload || "null"),
    ...Object.fromEntries(NUMBERS.filter((name) => limits[name]).map((name) => [name, Number(limits[name])])),
  });

  async function send(/** @type {Event} */ event) {
    event.preventDefault();
    if (wrong() || !reached.length) return;
    sent = null;
    keepIt();
    const [first] = reached;
    await act({
      title: reached.length === 1 ? `Send ${action} to ${first?.agentId}?` : `Send ${action} to ${count(reached.length)} agents?`,
      text: html`<p>${reachedText(reached)}</p>`,
      confirm: reached.length === 1 ? "Send" : `Send to ${count(reached.length)} agents`,
      async run(reason) {
        if (reached.length === 1 && first) {
          const made = await call("POST", `/agents/${segment(first.agentId)}/commands`, { body: command(), reason, key });
          sent = { commandId: made.commandId, number: 1 };
          return;
        }
        for (let from = 0; from < reached.length; from += LIST_MOST) {
          const body = reached.slice(from, from + LIST_MOST).map(({ agentId }) => ({ agentId, ...command() }));
          await call("POST", "/commands", { body, reason, key: `${key}-${from}` });
        }
        sent = { number: reached.length };
      },
    });
    if (sent) {
      key = newKey();
      forget(DRAFT);
    }
    shell.redraw();
  }

  const field = (/** @type {(typeof NUMBERS)[number]} */ name, /** @type {string} */ label, /** @type {string} */ hint) => html`<label
    >${label}
    <input name=${name} inputmode="numeric" pattern="-?[0-9]*" placeholder=${hint} .value=${limits[name] ?? ""} @input=${(/** @type {any} */ event) => { limits = { ...limits, [name]: event.target.value }; changed(); }} />
  </label>`;

  return {
    title: "Send a command",
    async load(signal) {
      problem = null;
      const { agentId, selector } = target();
      try {
        if (agentId) {
          reached = [await get(`/agents/${segment(agentId)}`, { signal })];
          more = false;
        } else if (selector) {
          ({ reached, more } = await reach(selector, signal));
        } else {
          reached = [];
        }
      } catch (error) {
        if (!(error instanceof Problem) || error.status === 0) throw error;
        reached = [];
        problem = error;
      }
    },
    view: () => !may("sender") ? noRights(shell, "send commands", "a sender or an admin") : html`<form class="send" @submit=${send}>
      <div class="columns">
        <section class="card">
          <h2>To whom</h2>
          <label>One agent <input name="agentId" list="send-agents" autocomplete="off" .value=${shell.place.query.get("agentId") ?? ""}
            @focus=${asks(agents)} @input=${asks(agents)}
            @change=${(/** @type {any} */ event) => reaches({ agentId: event.target.value.trim(), selector: null })} /></label>
          ${options("send-agents", agents?.values ?? [])}
          <label>Or all with these labels <input name="selector" list="send-labels" autocomplete="off" placeholder="env=prod,!canary" .value=${shell.place.query.get("selector") ?? ""}
            @focus=${asks(labels)} @input=${asks(labels)}
            @change=${(/** @type {any} */ event) => reaches({ selector: event.target.value.trim(), agentId: null })} /></label>
          ${options("send-labels", labels?.values ?? [])}
          <div class="reach" role="status">
            ${problem ? problemView(problem) : reached.length ? html`<p>${reachedText(reached)}${more ? html` More agents match; only ${count(REACH_MOST)} can be reached at once.` : nothing}</p>` : html`<p class="none">It reaches nobody yet: choose an agent, or labels.</p>`}
          </div>
          ${reached.length
            ? html`<details ?open=${reached.length < 6}><summary>Who that is</summary>
                ${table("Agents that it reaches", ["Agent", "Presence", "Approval", "Last seen"], reached.slice(0, 100).map((agent) => html`<tr>
                  <td>${agentLink(agent.agentId)}</td><td>${badge(agent.presence)}</td><td>${badge(agent.approval)}</td><td>${moment(agent.lastSeenAt)}</td>
                </tr>`))}
                ${reached.length > 100 ? html`<p class="hint">and ${count(reached.length - 100)} more</p>` : nothing}
              </details>`
            : nothing}
        </section>
        <section class="card">
          <h2>What</h2>
          <label>Action <input name="action" required maxlength="128" list="send-actions" autocomplete="off" .value=${action} @focus=${asks(actions)}
            @input=${(/** @type {any} */ event) => { action = event.target.value; actions?.ask(action); changed(); }} /></label>
          ${options("send-actions", actions?.values ?? [])}
          <label>Payload, as JSON
            <textarea name="payload" rows="8" spellcheck="false" aria-invalid=${wrong() ? "true" : "false"} aria-describedby="payload-wrong" .value=${payload}
              @input=${(/** @type {any} */ event) => { payload = event.target.value; changed(); }}></textarea></label>
          <p id="payload-wrong" class=${wrong() ? "wrong" : "hint"} role="status">${wrong() ?? "The JSON is valid."}</p>
          <details ?open=${Object.values(draft?.limits ?? {}).some(Boolean)}><summary>Limits</summary>
            <div class="row">
              ${field("priority", "Priority", "0")} ${field("ttlSeconds", "Deliver within, in seconds", "without limit")}
              ${field("executionTimeoutSeconds", "Execute within, in seconds", "600")} ${field("maxAttempts", "Attempts", "10")}
            </div>
          </details>
          <div class="buttons start">
            <button class="primary" ?disabled=${!reached.length || wrong() !== null || !action}>Send…</button>
            ${reached[0] && action && !wrong()
              ? html`${copyButton("Copy as dispatcher", asDispatcher({ agentId: reached[0].agentId, ...command() }), shell)}
                  ${copyButton("Copy as curl", asCurl({ agentId: reached[0].agentId, ...command() }), shell)}`
              : nothing}
          </div>
          <div role="status">${sent ? html`<p class="done">Accepted: ${sent.commandId ? commandLink(sent.commandId) : html`${count(sent.number)} commands. <a href="/console/commands?action=${encodeURIComponent(action)}">See them</a>`}</p>` : nothing}</div>
        </section>
      </div>
    </form>`,
    concerns: ({ type }) => type.startsWith("agent."),
  };
}

/** @param {Agent[]} agents */
function reachedText(agents) {
  const offline = agents.filter(({ presence }) => presence === "offline").length;
  const unapproved = agents.filter(({ approval }) => approval !== "approved").length;
  const parts = [`It reaches ${count(agents.length)} ${agents.length === 1 ? "agent" : "agents"}`];
  if (offline) parts.push(`${count(offline)} offline, for which it waits`);
  if (unapproved) parts.push(`${count(unapproved)} without approval`);
  return `${parts.join("; ")}.`;
}

/** @param {string} selector @param {AbortSignal} signal */
async function reach(selector, signal) {
  /** @type {Agent[]} */
  const reached = [];
  let cursor;
  do {
    const page = await get("/agents", { query: { selector, limit: 200, cursor }, signal });
    reached.push(...page.agents);
    cursor = page.nextCursor;
  } while (cursor && reached.length < REACH_MOST);
  return { reached, more: Boolean(cursor) };
}

/** @param {string} text @returns {string | null} what is wrong with the JSON */
function mistake(text) {
  try {
    JSON.parse(text || "null");
    return null;
  } catch (error) {
    return `This is no JSON: ${/** @type {Error} */ (error).message}`;
  }
}

const newKey = () => crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;

// All commands: filtered, and cancelled or redriven all at once.
import { html, nothing, repeat } from "../vendor/lit.js";
import { Problem, call, list, may } from "../api.js";
import { act } from "../dialogs.js";
import { agentLink, badge, commandLink, count, empty, moment, pager, said, table } from "../parts.js";
import { choice, completion, filters, given, text } from "../filters.js";
import { after } from "./agent-actions.js";

const NAMES = ["agentId", "status", "action", "selector", "submittedBy", "sessionId", "since", "until"];
const STATUSES = ["pending", "sent", "acknowledged", "completed", "failed", "expired", "cancelled", "dead", "timed_out"];
const GROUPS = {
  "pending,sent,acknowledged": "not ended",
  "failed,dead,timed_out,expired": "ended without success",
};
const MOST_AT_ONCE = 10_000;

/** @param {Shell} shell @returns {Page} */
export function commandsPage(shell) {
  /** @type {Command[]} */
  let commands = [];
  /** @type {string | null} */
  let next = null;
  const [agents, actions, labels, people] = /** @type {const} */ (["agent", "action", "label", "submittedBy"]).map((of) => completion(shell, of));

  /** @param {"cancel" | "redrive"} what */
  async function all(what) {
    /** @type {Record<string, unknown>} */
    const filter = given(shell, NAMES);
    const started = { cancel: "Cancel all that match", redrive: "Redrive all that match" }[what];
    let matched = 0;
    try {
      ({ matched } = await call("POST", `/commands/${what}`, { body: { filter: asBody(filter), dryRun: true, expectedCount: undefined } }));
    } catch (problem) {
      await act({ title: started, text: html`<p>${said(problem instanceof Problem ? problem.detail : String(problem))}</p>`, confirm: "Close", plain: true, run: async () => {} });
      return;
    }
    const some = matched >= MOST_AT_ONCE ? `the first ${count(MOST_AT_ONCE)}` : count(matched);
    if (!matched) return shell.tell(what === "cancel" ? "Nothing to cancel: no command that matches is pending or under way." : "Nothing to redrive: no command that matches ended without success, or all were redriven before.");
    let changed = 0;
    const done = await act({
      title: `${what === "cancel" ? "Cancel" : "Redrive"} ${some} ${matched === 1 ? "command" : "commands"}?`,
      text: html`<p>The service has counted them. If another number matches when you confirm, nothing is done.</p>
        <dl class="facts">${Object.entries(filter).map(([name, value]) => html`<dt>${name}</dt><dd>${said(value)}</dd>`)}</dl>`,
      confirm: `${what === "cancel" ? "Cancel" : "Redrive"} ${some}`,
      danger: what === "cancel",
      async run(reason) {
        const body = { filter: asBody(filter), expectedCount: matched, reason: reason || undefined };
        ({ changed } = await call("POST", `/commands/${what}`, { body }));
      },
    });
    if (done) await after(shell, `${count(changed)} commands are ${what === "cancel" ? "cancelled, or their agents are asked to stop" : "submitted again"}.`);
  }

  return {
    title: "Commands",
    async load(signal) {
      const query = given(shell, [...NAMES, "cursor", "limit"]);
      ({ items: commands, next } = await list("/commands", "commands", query, signal));
    },
    view: () => html`
      ${filters(shell, NAMES, [
        text("agentId", "Agent", shell, { completion: agents }),
        choice("status", "Status", [...Object.keys(GROUPS), ...STATUSES, ...given1(shell)], shell, GROUPS),
        text("action", "Action", shell, { completion: actions }),
        text("selector", "Agent's labels", shell, { hint: "env=prod,!canary", completion: labels }),
        text("submittedBy", "Submitted by", shell, { completion: people }),
        text("sessionId", "Session", shell),
        text("since", "Since, UTC", shell, { values: momentsAgo() }),
        text("until", "Until, UTC", shell, { values: momentsAgo() }),
      ])}
      ${may("sender") && commands.length
        ? html`<div class="buttons start">
            <button class="danger" @click=${() => all("cancel")}>Cancel all that match…</button>
            <button @click=${() => all("redrive")}>Redrive all that match…</button>
          </div>`
        : nothing}
      ${commands.length
        ? table("Commands, the newest first", ["Command", "Action", "Agent", "Status", "Attempt", "Accepted", "Ended"], repeat(commands, (command) => command.commandId, row))
        : nothingHere(shell)}
      ${pager(shell, next)}`,
    concerns: ({ type }) => type.startsWith("command."),
    actions: () => (may("sender") ? [
      { name: "Cancel all that match", run: () => all("cancel") },
      { name: "Redrive all that match", run: () => all("redrive") },
    ] : []),
  };
}

/** @param {Command} command */
const row = (command) => html`<tr>
  <td>${commandLink(command.commandId)}</td>
  <td data-name="Action">${said(command.action)}</td>
  <td data-name="Agent">${agentLink(command.agentId)}</td>
  <td data-name="Status">${badge(command.status)}${command.cancelRequestedAt && !command.completedAt ? html` <span class="hint">cancel requested</span>` : nothing}
    ${command.errorMessage ? html`<span class="hint clip">${said(command.errorMessage)}</span>` : nothing}</td>
  <td data-name="Attempt" class="number">${command.attempt} of ${command.maxAttempts}</td>
  <td data-name="Accepted">${moment(command.createdAt)}</td>
  <td data-name="Ended">${command.completedAt ? moment(command.completedAt) : "–"}</td>
</tr>`;

/** @param {Shell} shell */
const nothingHere = (shell) =>
  NAMES.some((name) => shell.place.query.has(name))
    ? empty("No command matches these filters.", html`<a href="/console/commands">Show all commands</a>`)
    : empty("No command was submitted yet.", may("sender") ? html`<a href="/console/send">Send the first one</a>` : nothing);

/** A status of the address that is not among the choices. @param {Shell} shell */
function given1(shell) {
  const status = shell.place.query.get("status") ?? "";
  return status && !STATUSES.includes(status) && !(status in GROUPS) ? [status] : [];
}

/** The filter as the body of a request: `status` is a list. @param {Record<string, unknown>} filter */
const asBody = ({ status, ...others }) => ({ ...others, ...(status ? { status: String(status).split(",") } : {}) });

/** Moments to choose from: a quarter of an hour, an hour, six and twenty-four hours ago, to the minute. */
const momentsAgo = () =>
  [0.25, 1, 6, 24].map((hours) => `${new Date(Date.now() - hours * 3_600_000).toISOString().slice(0, 16)}:00Z`);

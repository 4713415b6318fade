// One command: its life on one axis, why it is where it is, and what to do about it.
import { html, nothing } from "../vendor/lit.js";
import { call, get, may, segment } from "../api.js";
import { act, perform } from "../dialogs.js";
import { agentLink, badge, commandLink, copyButton, json, moment, said, span, table, whyView } from "../parts.js";
import { bars } from "./bars.js";
import { asCurl, asDispatcher } from "./shells.js";

/** @param {Shell} shell @returns {Page} */
export function commandPage(shell) {
  const id = shell.place.item;
  const path = `/commands/${segment(id)}`;
  /** @type {Command} */
  let command;
  /** @type {Why} */
  let why;
  /** @type {HistoryEntry[]} */
  let history = [];
  let timer = 0;

  const cancel = () => perform(shell, {
    title: `Cancel ${command.action}?`,
    text: html`<p>${command.status === "pending" ? "It ends at once." : "Its agent is asked to stop it; it ends when the agent says so."}</p>`,
    confirm: "Cancel the command",
    danger: true,
    run: (reason) => call("POST", `${path}/cancel`, { reason }),
  }, command.status === "pending" ? "The command is cancelled." : "The cancel is requested.");

  async function redrive() {
    const key = crypto.randomUUID?.() ?? String(Math.random());
    /** @type {Command | undefined} */
    let made;
    await act({
      title: `Redrive ${command.action}?`,
      text: html`<p>A new command with the same payload is submitted for ${agentLink(command.agentId)}.</p>`,
      confirm: "Redrive",
      run: async (reason) => { made = await call("POST", `${path}/redrive`, { reason, key }); },
    });
    if (!made) return;
    shell.go(`/console/commands/${segment(made.commandId)}`);
    shell.tell(`This is the new command; it repeats ${id}.`);
  }

  const ended = () => command.completedAt !== null;
  const actions = () => !command || !may("sender") ? [] : [
    ...(ended() ? [] : [{ name: "Cancel this command", run: cancel }]),
    ...(ended() && command.status !== "completed" ? [{ name: "Redrive this command", run: redrive }] : []),
  ];

  const facts = () => html`<section class="card">
    <h2>Facts</h2>
    <dl class="facts">
      <dt>Agent</dt><dd>${agentLink(command.agentId)}</dd>
      ${command.sessionId ? html`<dt>Session</dt><dd>${said(command.sessionId)}</dd>` : nothing}
      <dt>Submitted</dt><dd>${moment(command.createdAt)} ${command.submittedBy ? html`by ${said(command.submittedBy)}` : nothing}</dd>
      <dt>Attempts</dt><dd>${command.attempt} of ${command.maxAttempts}</dd>
      <dt>Priority</dt><dd>${command.priority}</dd>
      <dt>Not before</dt><dd>${command.notBefore ? moment(command.notBefore) : "at once"}</dd>
      <dt>Deliver by</dt><dd>${command.deliverBy ? moment(command.deliverBy) : "without limit"}</dd>
      <dt>Execution</dt><dd>${span(command.executionTimeoutSeconds)} at most</dd>
      ${command.redriveOf ? html`<dt>Repeats</dt><dd>${commandLink(command.redriveOf)}</dd>` : nothing}
      ${command.cancelRequestedAt ? html`<dt>Cancel</dt><dd>requested ${moment(command.cancelRequestedAt)}</dd>` : nothing}
      ${command.errorMessage ? html`<dt>Error</dt><dd>${said(command.errorMessage)}</dd>` : nothing}
    </dl>
  </section>`;

  return {
    title: id,
    async load(signal) {
      const [read, explained, transitions] = await Promise.all([
        get(path, { signal }),
        get(`${path}/why`, { signal }),
        get(`${path}/history`, { query: { limit: 200 }, signal }),
      ]);
      command = read;
      why = explained;
      history = transitions.history;
      clearInterval(timer);
      if (!ended()) timer = setInterval(shell.redraw, 1000);
    },
    view: () => html`
      <p class="lead">${badge(command.status)} <strong>${said(command.action)}</strong> for ${agentLink(command.agentId)}</p>
      ${whyView(why)}
      <div class="buttons start">
        ${actions().map(({ name, run }) => html`<button class=${name.startsWith("Cancel") ? "danger" : "primary"} @click=${run}>${name}</button>`)}
        ${copyButton("Copy as dispatcher", asDispatcher(command), shell)} ${copyButton("Copy as curl", asCurl(command), shell)}
      </div>
      <section class="card">
        <h2>Its life</h2>
        ${bars(command, history)}
      </section>
      <div class="columns">
        <div class="stack">${facts()} ${json("Payload", command.payload)}</div>
        <div class="stack"><section class="card">
          <h2>History</h2>
          ${table("Each transition, the oldest first", ["At", "Status", "Attempt", "Cause"], history.map((entry) => html`<tr>
            <td>${moment(entry.at)}</td><td data-name="Status">${badge(entry.toStatus)}</td><td data-name="Attempt" class="number">${entry.attempt}</td><td data-name="Cause">${said(entry.cause)}</td>
          </tr>`))}
        </section>
        ${command.progress === null || command.progress === undefined ? nothing : json("Progress", command.progress)}
        ${json("Result", command.result)}</div>
      </div>`,
    concerns: (event) => event.commandId === id || (event.agentId === command?.agentId && !ended()),
    actions,
    close: () => clearInterval(timer),
  };
}

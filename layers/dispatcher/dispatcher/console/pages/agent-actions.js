// What an admin does to one agent, on its page and in the list.
import { html } from "../vendor/lit.js";
import { call, may, segment } from "../api.js";
import { act, open, perform, showSecret } from "../dialogs.js";
import { editLabels } from "./labels.js";

/**
 * The actions that are possible now.
 * @param {Shell} shell
 * @param {Agent} agent
 * @param {() => void} gone is called when the agent was deleted
 * @returns {PaletteEntry[]}
 */
export const agentActions = (shell, agent, gone) => (!may("admin") ? [] : [
  agent.approval === "approved" ? null : { name: "Approve this agent", run: () => void approve(shell, agent) },
  agent.approval === "rejected" ? null : { name: "Reject this agent", run: () => void reject(shell, agent) },
  { name: "Edit its labels", run: () => editLabels(shell, agent) },
  { name: "Give it a new key", run: () => void rotate(shell, agent.agentId) },
  { name: "Delete this agent", run: () => void remove(agent.agentId, gone) },
].filter((entry) => entry !== null));

/**
 * Lets somebody choose an action in the list.
 * @param {Shell} shell
 * @param {Agent} agent
 */
export async function chooseAction(shell, agent) {
  /** @type {PaletteEntry | undefined} */
  let chosen;
  const actions = agentActions(shell, agent, () => void after(shell, `${agent.agentId} is deleted.`));
  await open(agent.agentId, (close) => html`<div class="stack">
    ${actions.map((entry, index) => html`<button class=${entry.name.startsWith("Delete") ? "danger" : ""} ?autofocus=${!index}
      @click=${() => { chosen = entry; close(true); }}>${entry.name}</button>`)}
    <button @click=${() => close(false)}>Back</button>
  </div>`);
  chosen?.run();
}

/** @param {Shell} shell @param {Agent} agent */
export const approve = (shell, agent) =>
  perform(shell, {
    title: `Approve ${agent.agentId}?`,
    text: html`<p>It may connect, and gets the commands that wait for it.</p>`,
    confirm: "Approve",
    run: (reason) => call("POST", `/agents/${segment(agent.agentId)}/approve`, { reason }),
  }, `${agent.agentId} is approved.`);

/** @param {Shell} shell @param {Agent} agent */
export const reject = (shell, agent) =>
  perform(shell, {
    title: `Reject ${agent.agentId}?`,
    text: html`<p>Its connections are closed. Commands for it go on waiting.</p>`,
    confirm: "Reject",
    danger: true,
    run: (reason) => call("POST", `/agents/${segment(agent.agentId)}/reject`, { reason }),
  }, `${agent.agentId} is rejected.`);

/** @param {Shell} shell @param {string} id */
export async function rotate(shell, id) {
  /** @type {any} */
  let made;
  const done = await act({
    title: `A new key for ${id}`,
    text: html`<p>The old keys stay valid: revoke them on its page when the agent uses the new one.</p>`,
    confirm: "Make a key",
    run: async (reason) => { made = await call("POST", `/agents/${segment(id)}/keys`, { reason }); },
  });
  if (!done) return;
  await showSecret(`The new key of ${id}`, made.apiKey);
  await after(shell, `${id} has a new key.`);
}

/** @param {string} id @param {() => void} gone */
async function remove(id, gone) {
  const done = await act({
    title: `Delete ${id}?`,
    text: html`<p>Its commands are cancelled, its keys are revoked and its connections are closed. The commands and their history can still be read.</p>`,
    confirm: "Delete",
    danger: true,
    run: (reason) => call("DELETE", `/agents/${segment(id)}`, { reason }),
  });
  if (done) gone();
}

/** @param {Shell} shell @param {string} text */
export async function after(shell, text) {
  await shell.reload();
  shell.tell(text);
}

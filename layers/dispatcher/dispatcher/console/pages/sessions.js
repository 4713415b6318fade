// StreamSpace's sessions: desktops that agents run.
import { html, nothing, repeat } from "../vendor/lit.js";
import { call, list, may, segment } from "../api.js";
import { perform } from "../dialogs.js";
import { agentLink, badge, empty, moment, pager, said, table } from "../parts.js";
import { given } from "../filters.js";

/** @typedef {{name: string, agentId: string, user: string, template: string, state: string, createdAt: string, updatedAt: string}} DesktopSession */

/** What can be done in each state. @type {Record<string, ("hibernate" | "wake" | "stop")[]>} */
const MOVES = { running: ["hibernate", "stop"], hibernated: ["wake", "stop"], pending: ["stop"], failed: ["stop"], unknown: ["stop"] };
const WORDS = { hibernate: "Hibernate", wake: "Wake", stop: "Stop" };

/** @param {Shell} shell @returns {Page} */
export function sessionsPage(shell) {
  /** @type {DesktopSession[]} */
  let sessions = [];
  /** @type {string | null} */
  let next = null;

  /** @param {DesktopSession} session @param {"hibernate" | "wake" | "stop"} move */
  const run = ({ name }, move) => perform(shell, {
    title: `${WORDS[move]} ${name}?`,
    text: html`<p>A command asks its agent; the state changes when the agent has answered.</p>`,
    confirm: WORDS[move],
    danger: move === "stop",
    run: (reason) => (move === "stop"
      ? call("DELETE", `/sessions/${segment(name)}`, { reason })
      : call("POST", `/sessions/${segment(name)}/${move}`, { reason })),
  }, `The agent of ${name} is asked to ${move} it.`);

  return {
    title: "Sessions",
    async load(signal) {
      ({ items: sessions, next } = await list("/sessions", "sessions", given(shell, ["cursor", "limit"]), signal));
    },
    view: () => html`
      ${sessions.length
        ? table("Sessions", ["Session", "State", "User", "Template", "Agent", "Changed", ...(may("sender") ? ["Actions"] : [])], repeat(sessions, ({ name }) => name, (session) => html`<tr>
            <td>${said(session.name)}</td><td data-name="State">${badge(session.state)}</td><td data-name="User">${said(session.user)}</td>
            <td data-name="Template">${said(session.template)}</td><td data-name="Agent">${agentLink(session.agentId)}</td><td data-name="Changed">${moment(session.updatedAt)}</td>
            ${may("sender") ? html`<td class="buttons">${(MOVES[session.state] ?? []).map((move) => html`<button class=${move === "stop" ? "danger" : ""} @click=${() => run(session, move)}>${WORDS[move]}</button>`)}</td>` : nothing}
          </tr>`))
        : empty("There is no session that you may see.", html`<p>StreamSpace starts sessions; without StreamSpace there are none.</p>`)}
      ${pager(shell, next)}`,
    concerns: ({ type }) => type.startsWith("command."),
  };
}

// The audit log: who did what to which agent and command, from where, and why.
import { html } from "../vendor/lit.js";
import { list, mayManage } from "../api.js";
import { agentLink, commandLink, empty, moment, noRights, pager, said, table } from "../parts.js";
import { completion, filters, given, text } from "../filters.js";

const NAMES = ["actor", "agentId", "commandId"];

/** @param {Shell} shell @returns {Page} */
export function auditPage(shell) {
  /** @type {any[]} */
  let entries = [];
  /** @type {string | null} */
  let next = null;
  const agents = completion(shell, "agent");
  return {
    title: "Audit log",
    async load(signal) {
      if (!mayManage()) return;
      const query = given(shell, [...NAMES, "cursor", "limit"]);
      ({ items: entries, next } = await list("/audit", "entries", query, signal));
    },
    view: () => !mayManage() ? noRights(shell, "read the audit log", "an admin without a label limit") : html`
      ${filters(shell, NAMES, [text("actor", "Who", shell), text("agentId", "Agent", shell, { completion: agents }), text("commandId", "Command", shell)])}
      ${entries.length
        ? table("Entries, the newest first", ["At", "Who", "Did", "Agent", "Command", "Reason", "Details"], entries.map((entry) => html`<tr>
            <td>${moment(entry.at)}</td>
            <td data-name="Who">${said(entry.actor)} <span class="hint">${entry.sourceIp ?? ""}${entry.tokenId ? " with an API token" : ""}</span></td>
            <td data-name="Did">${entry.action}</td>
            <td data-name="Agent">${entry.agentId ? agentLink(entry.agentId) : "–"}</td>
            <td data-name="Command">${commands(entry)}</td>
            <td data-name="Reason">${entry.detail?.reason ? said(entry.detail.reason) : "–"}</td>
            <td data-name="Details">${details(entry.detail)}</td>
          </tr>`))
        : empty("No entry matches.", html`<a href="/console/audit">Show all entries</a>`)}
      ${pager(shell, next)}`,
    concerns: () => true,
  };
}

/** @param {any} entry */
function commands(entry) {
  const first = entry.commandId ?? entry.commandIds?.[0];
  if (!first) return "–";
  const more = (entry.detail?.commands ?? 1) - 1;
  return html`${commandLink(first)} ${more > 0 ? html`<span class="hint">and ${more} more</span>` : ""}`;
}

/** @param {Record<string, unknown> | null} detail */
function details(detail) {
  const { reason: _, ...others } = detail ?? {};
  const given = Object.entries(others).filter(([, value]) => value !== null);
  return given.map(([name, value]) => html`<span class="hint">${name}</span> ${said(typeof value === "string" ? value : JSON.stringify(value))} `);
}

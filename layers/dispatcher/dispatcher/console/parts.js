// What several pages show: moments, statuses, problems, texts that others have written.
import { html, nothing } from "./vendor/lit.js";

/** Each status and presence: a sign beside the word, so that colour is never alone. */
const LOOKS = /** @type {Record<string, [sign: string, tone: string]>} */ ({
  accepted: ["+", "wait"],
  pending: ["◷", "wait"],
  sent: ["➤", "busy"],
  acknowledged: ["▶", "busy"],
  completed: ["✓", "good"],
  failed: ["✕", "bad"],
  dead: ["☠", "bad"],
  timed_out: ["◔", "bad"],
  expired: ["◌", "warn"],
  cancelled: ["⊘", "idle"],
  online: ["●", "good"],
  degraded: ["◐", "warn"],
  offline: ["○", "bad"],
  connected: ["●", "good"],
  disconnected: ["◌", "warn"],
  created: ["+", "idle"],
  deleted: ["−", "idle"],
  approved: ["✓", "good"],
  rejected: ["✕", "bad"],
  running: ["●", "good"],
  hibernated: ["◐", "idle"],
  terminated: ["○", "idle"],
  stopping: ["…", "busy"],
  hibernating: ["…", "busy"],
  waking: ["…", "busy"],
});

/** @param {string} status */
export function badge(status) {
  const [sign, tone] = LOOKS[status] ?? ["·", "idle"];
  return mark(tone, sign, status.replace("_", " "));
}

/** @param {string} tone @param {string} sign @param {string} word */
export const mark = (tone, sign, word) =>
  html`<span class="badge ${tone}"><span aria-hidden="true">${sign}</span> ${word}</span>`;

/**
 * A text that an agent or another operator has written: never markup, and its direction stays within it.
 * @param {unknown} text
 */
export const said = (text) => html`<bdi class="said" title=${String(text)}>${String(text)}</bdi>`;

/** @param {string} id @param {boolean} [short] */
export const agentLink = (id, short) =>
  html`<a href="/console/agents/${encodeURIComponent(id)}" class=${short ? "short" : ""}>${said(id)}</a>`;

/** @param {string} id */
export const commandLink = (id) => html`<a href="/console/commands/${encodeURIComponent(id)}" class="id">${said(id)}</a>`;

/** The page is in English, so its moments and numbers are too. */
const LANGUAGE = "en-GB";
const day = new Intl.DateTimeFormat(LANGUAGE, { day: "numeric", month: "short" });
const time = new Intl.DateTimeFormat(LANGUAGE, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const full = new Intl.DateTimeFormat(LANGUAGE, { dateStyle: "full", timeStyle: "long" });

/** A page shows the same moments again and again, and to write one takes long. @type {Map<string, string>} */
const written = new Map();

/** @param {string} iso @param {Date} at */
function inFull(iso, at) {
  const known = written.get(iso) ?? full.format(at);
  if (written.size > 5000) written.clear();
  written.set(iso, known);
  return known;
}

/**
 * A moment: absolute, and how long ago.
 * @param {string | null | undefined} iso
 */
export function moment(iso) {
  if (!iso) return html`<span class="none">never</span>`;
  const at = new Date(iso);
  const sameDay = at.toDateString() === new Date().toDateString();
  return html`<time datetime=${iso} title=${inFull(iso, at)}
    >${sameDay ? nothing : `${day.format(at)} `}${time.format(at)} <span class="ago">${ago(at)}</span></time
  >`;
}

/** @param {Date} at */
export const clock = (at) => time.format(at);

/** @param {Date} at @returns {string} such as "3 min ago" */
export function ago(at) {
  const seconds = (Date.now() - at.getTime()) / 1000;
  if (Math.abs(seconds) < 2) return "now";
  return seconds < 0 ? `in ${span(-seconds)}` : `${span(seconds)} ago`;
}

/** @param {number | null | undefined} seconds @returns {string} such as "3 min" */
export function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

/** @param {number} number */
export const count = (number) => number.toLocaleString(LANGUAGE);

/** @param {Record<string, unknown> | null} labels */
export function labelsOf(labels) {
  const pairs = Object.entries(labels ?? {});
  if (!pairs.length) return html`<span class="none">no labels</span>`;
  return html`<span class="labels">${pairs.map(([name, value]) => html`<span class="label">${said(`${name}=${value}`)}</span>`)}</span>`;
}

/**
 * A value of JSON, to be read and copied.
 * @param {string} title
 * @param {unknown} value
 */
export function json(title, value) {
  const text = value === undefined ? "" : JSON.stringify(value, null, 2);
  return html`<section class="card">
    <h2>${title}</h2>
    ${value === null || value === undefined
      ? html`<p class="none">none</p>`
      : html`<pre tabindex="0" role="region" aria-label=${title}><bdi>${text}</bdi></pre>`}
  </section>`;
}

/**
 * A text to be copied, with its button.
 * @param {string} name
 * @param {string} text
 * @param {Shell} shell
 */
export const copyButton = (name, text, shell) =>
  html`<button @click=${() => copy(text).then(() => shell.tell(`Copied: ${name}.`))}>${name}</button>`;

/** @param {string} text */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without https, browsers have no clipboard: select the text in a field, and copy that.
    const field = document.createElement("textarea");
    field.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
}

/**
 * Saves a text as a file.
 * @param {string} name
 * @param {string} text
 */
export function save(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/**
 * What is wrong, and what to do.
 * @param {unknown} problem
 * @param {(() => void) | null} [retry]
 * @param {Record<number, string>} [others] other advice
 */
export function problemView(problem, retry, others = {}) {
  const { status = 0, title = "The page failed", detail = String(problem) } = /** @type {any} */ (problem);
  const advice = { .../** @type {Record<number, string>} */ ({
    0: "The page tries again by itself.",
    403: "Ask an admin for a role or a label limit that includes this.",
    404: "It may have been deleted, or your label limit does not include it.",
    429: "Wait a moment, then try again.",
  }), ...others }[status];
  return html`<div class="problem" role="alert">
    <h2>${title}</h2>
    <p>${said(detail)}</p>
    ${advice ? html`<p>${advice}</p>` : nothing}
    ${retry ? html`<button @click=${retry}>Try again</button>` : nothing}
  </div>`;
}

/**
 * Says that the operator's rights do not suffice, and whom to ask.
 * @param {Shell} shell
 * @param {string} what they may not do
 * @param {string} needed
 */
export const noRights = (shell, what, needed) => html`<div class="problem" role="alert">
  <h2>You may not ${what}</h2>
  <p>It takes ${needed}; you are ${said(shell.session.username)}, ${shell.session.role}. Ask an admin to do it, or for that role.</p>
</div>`;

/** What to do about a reason, where the page has a button for it. @type {Record<string, string>} */
const HERE = { "agent-not-approved": "An admin approves it on the page of the agent.", "nothing-pending": "" };

/** Why something waits, and what would unblock it. @param {Why} why */
export function whyView({ reason, sentence, unblock }) {
  const advice = HERE[reason] ?? unblock;
  return html`<p class="why"><strong>${linked(sentence)}</strong> ${advice ? html`<span>To unblock it: ${linked(advice)}</span>` : nothing}</p>`;
}

/** A text of the service, in which the ids of commands are links. @param {string} text */
const linked = (text) => text.split(/(\bcmd-[0-9a-f]{32}\b)/).map((part, index) => (index % 2 ? commandLink(part) : said(part)));

/** @param {string} text @param {unknown} [next] what to do */
export const empty = (text, next) => html`<div class="empty"><p>${text}</p>${next ?? nothing}</div>`;

/**
 * The link to the next page of a list.
 * @param {Shell} shell
 * @param {string | null} next
 */
export function pager(shell, next) {
  const query = new URLSearchParams(shell.place.query);
  const first = query.has("cursor");
  query.delete("cursor");
  const start = `?${query}`;
  if (next) query.set("cursor", next);
  if (!first && !next) return nothing;
  return html`<nav class="pager" aria-label="Pages of the list">
    ${first ? html`<a href=${start}>First page</a>` : nothing} ${next ? html`<a href="?${query}">Next page</a>` : nothing}
  </nav>`;
}

/**
 * A table with a caption for screen readers; on a narrow screen each row becomes a block.
 * @param {string} caption
 * @param {string[]} heads
 * @param {unknown} rows
 */
export const table = (caption, heads, rows) =>
  html`<div class="scroll"><table>
    <caption class="hidden">${caption}</caption>
    <thead><tr>${heads.map((head) => html`<th scope="col">${head}</th>`)}</tr></thead>
    <tbody>${rows}</tbody>
  </table></div>`;

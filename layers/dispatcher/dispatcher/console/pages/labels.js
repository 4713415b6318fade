// Labels: written as a selector writes them, and edited where they are shown.
import { html, nothing, ref } from "../vendor/lit.js";
import { Problem, call, may, read, segment } from "../api.js";
import { LOST } from "../dialogs.js";
import { forget, keep, kept } from "../drafts.js";
import { labelsOf, problemView, said } from "../parts.js";

/** A label: name=value, or name="value" for a value with a comma, a quote or spaces around it. */
const LABEL = /\s*([^=,]*)(?:=("(?:[^"\\]|\\.)*"(?=\s*(?:,|$))|[^,]*))?(,|$)/y;

/**
 * Reads `env=prod,zone=eu-1`; throws an error that names the part that is wrong.
 * @param {string} text
 * @returns {Record<string, string>}
 */
export function parseLabels(text) {
  const line = text.replaceAll("\n", ",");
  /** @type {[string, string][]} */
  const labels = [];
  LABEL.lastIndex = 0;
  for (let more = Boolean(line.trim()); more; ) {
    const begin = LABEL.lastIndex;
    const found = LABEL.exec(line);
    const part = found?.[0].replace(/,$/, "").trim() ?? line.slice(begin).trim();
    const name = found?.[1]?.trim() ?? "";
    const value = found?.[2]?.trim();
    if (part && (!name || value === undefined)) throw new Error(`“${part}” is no label; write name=value.`);
    if (labels.some(([before]) => before === name)) throw new Error(`“${name}” stands there twice.`);
    if (part) labels.push([name, value?.startsWith('"') ? unquoted(value, part) : (value ?? "")]);
    more = found?.[3] === ",";
  }
  return Object.fromEntries(labels);
}

/** @param {string} value @param {string} part */
function unquoted(value, part) {
  try {
    return String(JSON.parse(value));
  } catch {
    throw new Error(`“${part}” has a quote that does not end.`);
  }
}

/** @param {Record<string, string>} labels */
export const formatLabels = (labels) =>
  Object.entries(labels).map(([name, value]) => `${name}=${/^\s|\s$|[,"]/.test(value) ? JSON.stringify(value) : value}`).join(", ");

/**
 * What is being edited: one agent at a time.
 * @type {{id: string, before: Record<string, string>, version: string | null, text: string, reason: string, problem: unknown, busy: boolean} | null}
 */
let editing = null;

/** @param {string} id @returns {boolean} whether somebody edits the labels of this agent */
export const edits = (id) => editing?.id === id;

/** @param {string} id */
const draftOf = (id) => `labels of ${id}`;

export function giveUpLabels() {
  if (editing) forget(draftOf(editing.id));
  editing = null;
}

/** Goes on with what was typed before the session ended. @param {Agent[]} shown */
export function resumeLabels(shown) {
  const draft = shown.map(({ agentId }) => kept(draftOf(agentId))).find(Boolean);
  if (draft && may("admin")) editing ??= { ...draft, version: null, problem: null, busy: false };
}

/**
 * The labels of an agent; an admin turns them into a field with a click or with Enter.
 * @param {Shell} shell
 * @param {Agent} agent
 */
export function labelsView(shell, agent) {
  if (edits(agent.agentId)) return editor(shell, agent);
  if (!may("admin")) return labelsOf(agent.labels);
  return html`<span class="editable" @click=${() => editLabels(shell, agent)}>${labelsOf(agent.labels)}
    <button class="quiet" aria-label="Edit the labels of ${agent.agentId}" id=${buttonOf(agent.agentId)}>Edit</button></span>`;
}

/** @param {Shell} shell @param {Agent} agent */
export function editLabels(shell, agent) {
  editing = {
    id: agent.agentId, before: agent.labels, version: null, text: formatLabels(agent.labels), reason: "", problem: null, busy: false,
  };
  shell.redraw();
}

/** @param {string} id */
const buttonOf = (id) => `edit-labels-${encodeURIComponent(id)}`;

/** @returns {string | null} what is wrong with the text */
function mistake() {
  try {
    parseLabels(editing?.text ?? "");
    return null;
  } catch (error) {
    return /** @type {Error} */ (error).message;
  }
}

/** @param {Shell} shell @param {Agent} agent */
function editor(shell, agent) {
  const mine = /** @type {NonNullable<typeof editing>} */ (editing);
  const wrong = mistake();
  const changed = () => keep(draftOf(mine.id), { id: mine.id, before: mine.before, text: mine.text, reason: mine.reason });
  const leave = () => {
    giveUpLabels();
    shell.redraw();
    setTimeout(() => document.getElementById(buttonOf(agent.agentId))?.focus());
  };
  const save = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (mine.busy || mistake()) return;
    mine.busy = true;
    mine.problem = null;
    shell.redraw();
    try {
      await put(agent, mine);
      leave();
      await shell.reload();
      shell.tell(`The labels of ${agent.agentId} are saved.`);
    } catch (problem) {
      mine.problem = problem;
    }
    mine.busy = false;
    shell.redraw();
  };
  return html`<form class="in-place" aria-label="Labels of ${agent.agentId}" aria-busy=${mine.busy} @submit=${save}
    @keydown=${(/** @type {KeyboardEvent} */ event) => { if (event.key === "Escape") { event.preventDefault(); leave(); } }}>
    <label>Labels, as name=value with commas
      <input name="text" autocomplete="off" spellcheck="false" aria-invalid=${wrong ? "true" : "false"} aria-describedby="labels-wrong" .value=${mine.text} ${ref(focus)}
        @input=${(/** @type {any} */ event) => { mine.text = event.target.value; changed(); shell.redraw(); }} /></label>
    <p id="labels-wrong" class=${wrong ? "wrong" : "hint"} role="status">${wrong ?? "Enter saves, Escape gives up."}</p>
    <label>Reason, for the audit log
      <input name="reason" maxlength="1000" autocomplete="off" .value=${mine.reason} @input=${(/** @type {any} */ event) => { mine.reason = event.target.value; changed(); }} /></label>
    ${mine.problem ? conflict(mine) : nothing}
    <div class="buttons start">
      <button class="primary" ?disabled=${mine.busy || wrong !== null}>${mine.busy ? "Saving…" : "Save"}</button>
      <button type="button" @click=${leave}>Give up</button>
    </div>
  </form>`;
}

/** The field has the focus when it appears, and only then. @type {Element | undefined} */
let seen;

/** @param {Element | undefined} field */
function focus(field) {
  if (field && field !== seen) setTimeout(() => /** @type {HTMLInputElement} */ (field).focus());
  seen = field;
}

/** @param {NonNullable<typeof editing>} mine */
const conflict = (mine) => mine.problem instanceof Problem && mine.problem.status === 412
  ? html`<div class="problem" role="alert"><h2>Somebody else has changed them</h2>
      <p>They are now: ${labelsOf(mine.before)}</p><p>Save again to put yours over them, or give up to keep them. What you did not change stays as they have it.</p></div>`
  : mine.problem instanceof Problem ? problemView(mine.problem, null, { 0: LOST }) : html`<p class="wrong" role="alert">${said(mine.problem)}</p>`;

/**
 * Saves what differs from what was shown; if the agent has other labels by now, shows those and throws the problem.
 * @param {Agent} agent
 * @param {NonNullable<typeof editing>} mine
 */
async function put(agent, mine) {
  const path = `/agents/${segment(agent.agentId)}`;
  if (mine.version === null) {
    const { document, version } = await read(path);
    mine.version = version;
    if (formatLabels(sorted(document.labels)) !== formatLabels(sorted(mine.before))) {
      mine.text = rebased(mine, document.labels);
      mine.before = document.labels;
      throw new Problem(412, "It was changed meanwhile", "");
    }
  }
  const after = parseLabels(mine.text);
  const removed = Object.keys(mine.before).filter((name) => !Object.hasOwn(after, name)).map((name) => [name, null]);
  const changed = Object.entries(after).filter(([name, value]) => mine.before[name] !== value);
  try {
    await call("PATCH", path, { body: { labels: Object.fromEntries([...removed, ...changed]) }, reason: mine.reason, version: mine.version });
  } catch (problem) {
    if (problem instanceof Problem && problem.status === 412) {
      const { document, version } = await read(path);
      mine.text = rebased(mine, document.labels);
      mine.before = document.labels;
      mine.version = version;
    }
    throw problem;
  }
}

/** @param {Record<string, string>} labels */
const sorted = (labels) => Object.fromEntries(Object.entries(labels).sort());

/** A label's value: every object also has inherited names, such as "constructor". @param {Record<string, string>} labels @param {string} name */
const own = (labels, name) => (Object.hasOwn(labels, name) ? labels[name] : undefined);

/**
 * The text with what one changed oneself, on top of what others have made of the labels.
 * @param {NonNullable<typeof editing>} mine
 * @param {Record<string, string>} theirs
 */
function rebased({ before, text }, theirs) {
  const after = parseLabels(text);
  const names = new Set([...Object.keys(theirs), ...Object.keys(after)]);
  const merged = [...names].flatMap((name) => {
    const touched = own(before, name) !== own(after, name);
    const value = own(touched ? after : theirs, name);
    return value === undefined ? [] : [[name, value]];
  });
  return formatLabels(Object.fromEntries(merged));
}

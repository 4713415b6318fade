// Filters of lists: their state is the query of the address.
import { html, nothing } from "./vendor/lit.js";
import { get } from "./api.js";

/** On a phone the filters are folded, so that the list is on the first screen. */
const narrow = matchMedia("(max-width: 40rem)");

/**
 * The filters of the address, for a request.
 * @param {Shell} shell
 * @param {string[]} names
 * @returns {Record<string, string>}
 */
export const given = (shell, names) =>
  Object.fromEntries(names.flatMap((name) => (shell.place.query.get(name) ? [[name, shell.place.query.get(name) ?? ""]] : [])));

/**
 * @param {Shell} shell
 * @param {string[]} names
 * @param {unknown[]} fields
 */
export function filters(shell, names, fields) {
  const change = (/** @type {Event} */ event) => {
    const { name, value } = /** @type {HTMLInputElement} */ (event.target);
    if (names.includes(name) && value.trim() !== (shell.place.query.get(name) ?? "")) shell.filter({ [name]: value.trim() });
  };
  const clear = () => shell.filter(Object.fromEntries(names.map((name) => [name, null])));
  const active = names.filter((name) => shell.place.query.has(name)).length;
  return html`<details class="fold" ?open=${!narrow.matches}><summary>Filters${active ? `: ${active} in use` : ""}</summary>
  <form class="filters" role="search" aria-label="Filters" @change=${change} @submit=${(/** @type {Event} */ event) => event.preventDefault()}>
    ${fields}
    ${names.some((name) => shell.place.query.has(name)) ? html`<button type="button" aria-label="Clear the filters" @click=${clear}>Clear</button>` : nothing}
  </form></details>`;
}

/** @typedef {{values: string[], ask: (text: string) => void}} Completion */

const PAUSE = 150;

/**
 * Values that occur, read from the service while somebody types.
 * @param {Shell} shell
 * @param {"agent" | "label" | "platform" | "action" | "submittedBy"} of
 * @returns {Completion}
 */
export function completion(shell, of) {
  let timer = 0;
  let latest = 0;
  /** @type {Completion} */
  const found = {
    values: [],
    ask(text) {
      clearTimeout(timer);
      const mine = (latest += 1);
      timer = setTimeout(async () => {
        const values = await known(of, text).catch(() => []);
        if (mine !== latest) return;
        found.values = values;
        shell.redraw();
      }, PAUSE);
    },
  };
  return found;
}

/** @param {string} of @param {string} text */
async function known(of, text) {
  if (of === "agent") {
    const { agents } = await get("/agents", { query: { search: text.trim(), limit: 20 } });
    return agents.map((/** @type {Agent} */ { agentId }) => agentId);
  }
  // A selector has several parts: the last one is completed.
  const start = of === "label" ? text.lastIndexOf(",") + 1 + (/^\s*!?/.exec(text.slice(text.lastIndexOf(",") + 1))?.[0].length ?? 0) : 0;
  const { values } = await get("/values", { query: { of, search: text.slice(start).trim(), limit: 20 } });
  return values.map((/** @type {string} */ value) => text.slice(0, start) + value);
}

/**
 * A field for text, with values to choose from.
 * @param {string} name
 * @param {string} label
 * @param {Shell} shell
 * @param {{hint?: string, values?: string[], completion?: Completion}} [more]
 */
export const text = (name, label, shell, { hint, values, completion: completed } = {}) => html`<label
  >${label}
  <input
    name=${name}
    placeholder=${hint ?? nothing}
    list=${values || completed ? `values-${name}` : nothing}
    autocomplete="off"
    spellcheck="false"
    .value=${shell.place.query.get(name) ?? ""}
    @focus=${completed ? (/** @type {Event} */ event) => completed.ask(/** @type {HTMLInputElement} */ (event.target).value) : nothing}
    @input=${completed ? (/** @type {Event} */ event) => completed.ask(/** @type {HTMLInputElement} */ (event.target).value) : nothing}
  />
  ${values || completed ? options(`values-${name}`, values ?? completed?.values ?? []) : nothing}
</label>`;

/** @param {string} id @param {string[]} values */
export const options = (id, values) => html`<datalist id=${id}>${values.map((value) => html`<option value=${value}></option>`)}</datalist>`;

/**
 * @param {string} name
 * @param {string} label
 * @param {string[]} values
 * @param {Shell} shell
 * @param {Record<string, string>} [words] what people read, where it differs
 */
export const choice = (name, label, values, shell, words = {}) => html`<label
  >${label}
  <select name=${name} .value=${shell.place.query.get(name) ?? ""}>
    <option value="">${words[""] ?? "any"}</option>
    ${values.map((value) => html`<option value=${value} ?selected=${shell.place.query.get(name) === value}>${words[value] ?? value}</option>`)}
  </select>
</label>`;

// Filters of lists: their state is the query of the address.
import { html, nothing } from "./vendor/lit.js";

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
  return html`<form class="filters" role="search" aria-label="Filters" @change=${change} @submit=${(/** @type {Event} */ event) => event.preventDefault()}>
    ${fields}
    ${names.some((name) => shell.place.query.has(name)) ? html`<button type="button" @click=${clear}>Clear the filters</button>` : nothing}
  </form>`;
}

/**
 * A field for text, with values to choose from.
 * @param {string} name
 * @param {string} label
 * @param {Shell} shell
 * @param {{hint?: string, values?: string[], type?: string, input?: (text: string) => void}} [more]
 */
export const text = (name, label, shell, { hint, values, type, input } = {}) => html`<label
  >${label}
  <input
    name=${name}
    type=${type ?? "text"}
    placeholder=${hint ?? nothing}
    list=${values ? `values-${name}` : nothing}
    autocomplete="off"
    spellcheck="false"
    .value=${shell.place.query.get(name) ?? ""}
    @input=${input ? (/** @type {InputEvent} */ event) => input(/** @type {HTMLInputElement} */ (event.target).value) : nothing}
  />
  ${values ? html`<datalist id="values-${name}">${values.map((value) => html`<option value=${value}></option>`)}</datalist>` : nothing}
</label>`;

/**
 * The values that occur, each once.
 * @param {(string | null)[]} values
 * @returns {string[]}
 */
export const unique = (values) => [...new Set(values.flatMap((value) => value || []))].sort();

/** The labels that occur, as a selector names them. @param {Agent[]} agents */
export const labelValues = (agents) =>
  unique(agents.flatMap(({ labels }) => Object.entries(labels).map(([name, value]) => `${name}=${value}`))).slice(0, 100);

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
    <option value="">any</option>
    ${values.map((value) => html`<option value=${value} ?selected=${shell.place.query.get(name) === value}>${words[value] ?? value}</option>`)}
  </select>
</label>`;

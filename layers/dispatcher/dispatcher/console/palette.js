// The palette: go anywhere and do anything, with the keyboard.
import { html, nothing } from "./vendor/lit.js";
import { get } from "./api.js";
import { open } from "./dialogs.js";
import { said } from "./parts.js";

const ID_LEAST = 12;

/**
 * @param {Shell} shell
 * @param {{path: string, name: string}[]} pages
 * @param {PaletteEntry[]} actions those of the page
 */
export function openPalette(shell, pages, actions) {
  /** @type {PaletteEntry[]} */
  const known = [
    ...actions,
    ...pages.map(({ path, name }) => ({ name, hint: "page", run: () => shell.go(`/console/${path}`) })),
    { name: "Agents for which something waits longest", hint: "filter", run: () => shell.go("/console/agents?sort=oldestDue") },
    { name: "Agents that are offline", hint: "filter", run: () => shell.go("/console/agents?presence=offline") },
    { name: "Agents that wait for approval", hint: "filter", run: () => shell.go("/console/agents?approval=pending") },
    { name: "Commands that are dead", hint: "filter", run: () => shell.go("/console/commands?status=dead") },
    { name: "Keys of this page", hint: "help", run: showKeys },
  ];
  let shown = known;
  let chosen = 0;
  let asked = 0;
  return open("Go to, or do", (close, redraw) => {
    const choose = (/** @type {PaletteEntry | undefined} */ entry) => {
      if (!entry) return;
      close(true);
      // The dialog gives the focus back first.
      setTimeout(entry.run);
    };
    const search = async (/** @type {InputEvent} */ event) => {
      const text = /** @type {HTMLInputElement} */ (event.target).value.trim();
      const mine = (asked += 1);
      const words = text.toLowerCase().split(/\s+/);
      shown = known.filter(({ name }) => words.every((word) => name.toLowerCase().includes(word)));
      chosen = 0;
      redraw();
      if (text.length < 2) return;
      const found = await find(shell, text).catch(() => []);
      if (mine === asked) shown = [...shown, ...found];
      redraw();
    };
    const press = (/** @type {KeyboardEvent} */ event) => {
      const step = /** @type {Record<string, number>} */ ({ ArrowDown: 1, ArrowUp: -1 })[event.key];
      if (step) chosen = (chosen + step + shown.length) % Math.max(shown.length, 1);
      else if (event.key === "Enter") choose(shown[chosen]);
      else return;
      event.preventDefault();
      redraw();
      document.getElementById(`choice-${chosen}`)?.scrollIntoView({ block: "nearest" });
    };
    return html`<input
        class="palette"
        role="combobox"
        aria-label="Page, action, agent or command"
        placeholder="Page, action, agent or command"
        aria-expanded="true"
        aria-controls="choices"
        aria-activedescendant=${shown.length ? `choice-${chosen}` : nothing}
        autocomplete="off"
        autofocus
        @input=${search}
        @keydown=${press}
      />
      <ul id="choices" role="listbox" aria-label="Choices">
        ${shown.map(
          (entry, index) => html`<li
            id="choice-${index}"
            role="option"
            aria-selected=${index === chosen}
            @click=${() => choose(entry)}
          >
            ${said(entry.name)} <span class="hint">${entry.hint ?? "action"}</span>
          </li>`,
        )}
      </ul>
      <p class="hint" role="status">${shown.length ? "" : "Nothing is called so."}</p>`;
  });
}

/**
 * Finds agents by a part of their id, and a command by its id.
 * @param {Shell} shell
 * @param {string} text
 * @returns {Promise<PaletteEntry[]>}
 */
async function find(shell, text) {
  const agents = get("/agents", { query: { search: text, limit: 8 } }).then(({ agents: found }) =>
    found.map((/** @type {Agent} */ { agentId, presence }) => ({
      name: agentId,
      hint: `agent, ${presence}`,
      run: () => shell.go(`/console/agents/${encodeURIComponent(agentId)}`),
    })),
  );
  // A part of an id finds no command, so a short text is not tried.
  const command = text.length < ID_LEAST ? [] : get(`/commands/${encodeURIComponent(text)}`).then(
    ({ commandId, action, status }) => [
      { name: commandId, hint: `${action}, ${status}`, run: () => shell.go(`/console/commands/${encodeURIComponent(commandId)}`) },
    ],
    () => [],
  );
  return (await Promise.all([command, agents])).flat();
}

export function showKeys() {
  const keys = [
    ["k, Ctrl-K", "go to a page, an agent or a command; do what this page offers"],
    ["/", "go to the filters"],
    ["?", "show these keys"],
    ["Tab, Enter", "move on, open"],
    ["Escape", "close a dialog"],
  ];
  return open(
    "Keys",
    (close) => html`<dl class="facts">
        ${keys.map(([key, what]) => html`<dt><kbd>${key}</kbd></dt><dd>${what}</dd>`)}
      </dl>
      <div class="buttons"><button class="primary" @click=${() => close(true)} autofocus>Close</button></div>`,
  );
}

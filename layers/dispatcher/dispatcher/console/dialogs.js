// Dialogs: every action is confirmed in one, with its reason; what goes wrong is said in it.
import { html, nothing, ref, render } from "./vendor/lit.js";
import { current } from "./api.js";
import { forget, keep, kept, typeInto, typedIn } from "./drafts.js";
import { copy, problemView } from "./parts.js";

/** The dialogs that may be closed for the operator: none that is at work, and none with a secret that is shown once. */
const IDLE = 'dialog:not(:has(.secret, [aria-busy="true"]))';

export function closeIdle() {
  document.querySelectorAll(/** @type {"dialog"} */ (IDLE)).forEach((dialog) => dialog.close());
}

/** For an action that got no answer: unlike a read, it is not repeated by itself. */
export const LOST = "It may have been done, and the answer lost: look before you repeat it.";

/**
 * @typedef {object} Action
 * @property {string} title what is about to happen
 * @property {unknown} [text] what it means
 * @property {string} confirm the word on the button
 * @property {boolean} [danger] it cannot be undone
 * @property {boolean} [plain] it asks for no reason
 * @property {unknown} [fields] further fields of the form
 * @property {(reason: string, form: FormData, tell: (progress: string) => void) => Promise<unknown>} run does it; a Problem is shown, and the dialog stays
 */

/**
 * Asks, and does it; what was typed before the session ended is there again.
 * @param {Action} action
 * @returns {Promise<boolean>} whether it was done
 */
export async function act(action) {
  const draft = `${location.pathname}${location.search} ${action.title}`;
  const typed = kept(draft);
  const fill = (/** @type {Element | undefined} */ last) => {
    if (last && typed) typeInto(/** @type {HTMLFormElement} */ (last.closest("form")), typed);
  };
  const done = await open(action.title, (close, redraw, state) => {
    const submit = async (/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      if (state.busy) return;
      const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
      state.busy = true;
      state.problem = null;
      redraw();
      try {
        await action.run(String(form.get("reason") ?? "").trim(), form, (progress) => { state.progress = progress; redraw(); });
      } catch (problem) {
        state.problem = problem;
      }
      state.progress = "";
      state.busy = false;
      redraw();
      // The form of the log-in says what went wrong.
      if (!state.problem || !current()) close(!state.problem);
    };
    const changed = (/** @type {any} */ event) => keep(draft, typedIn(event.currentTarget));
    return html`<form @submit=${submit} @input=${changed} aria-busy=${state.busy}>
      ${typed ? html`<p class="hint">This is what you typed before.</p>` : nothing}
      <div>${action.text ?? nothing}</div>
      ${action.fields ?? nothing}
      ${action.plain
        ? nothing
        : html`<label>Reason, for the audit log <input name="reason" maxlength="1000" autocomplete="off" autofocus /></label>`}
      ${state.problem ? problemView(state.problem, null, { 0: LOST }) : nothing}
      <p role="status" class="progress">${state.busy ? state.progress : ""}</p>
      <div class="buttons" ${ref(fill)}>
        <button type="button" ?disabled=${state.busy} @click=${() => close(false)}>Back</button>
        <button class=${action.danger ? "danger" : "primary"} ?disabled=${state.busy}>
          ${state.busy ? "Working…" : action.confirm}
        </button>
      </div>
    </form>`;
  });
  forget(draft);
  return done;
}

/**
 * Asks, does it, reads the page again, and tells what has been done.
 * @param {Shell} shell
 * @param {Action} action
 * @param {string} text
 */
export async function perform(shell, action, text) {
  if (!(await act(action))) return;
  await shell.reload();
  shell.tell(text);
}

/**
 * Shows a secret, which nobody can read again.
 * @param {string} title
 * @param {string} secret
 */
export function showSecret(title, secret) {
  return open(title, (close, redraw, state) => {
    const take = () => copy(secret).then(() => { state.done = true; redraw(); });
    return html`<p>Save it now: it is shown once.</p>
      <pre class="secret" tabindex="0">${secret}</pre>
      <p role="status">${state.done ? "Copied." : ""}</p>
      <div class="buttons">
        <button @click=${take} autofocus>Copy</button><button class="primary" @click=${() => close(true)}>I have saved it</button>
      </div>`;
  });
}

/**
 * Opens a dialog; Escape closes it unless it is busy, and the focus returns to where it was.
 * @param {string} title
 * @param {(close: (done: boolean) => void, redraw: () => void, state: Record<string, any>) => unknown} content
 * @returns {Promise<boolean>}
 */
export function open(title, content) {
  const before = /** @type {HTMLElement | null} */ (document.activeElement);
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-labelledby", "dialog-title");
  const state = /** @type {Record<string, any>} */ ({ busy: false, problem: null });
  return new Promise((resolve) => {
    let done = false;
    const close = (/** @type {boolean} */ result) => {
      done = result;
      dialog.close();
    };
    const redraw = () => {
      if (dialog.isConnected) render(html`<h2 id="dialog-title">${title}</h2>${content(close, redraw, state)}`, dialog);
    };
    dialog.addEventListener("cancel", (event) => {
      if (state.busy) event.preventDefault();
    });
    dialog.addEventListener("close", () => {
      // Browsers let a second Escape through.
      if (state.busy) return dialog.showModal();
      dialog.remove();
      if (before?.isConnected) before.focus();
      resolve(done);
    });
    document.body.append(dialog);
    redraw();
    dialog.showModal();
  });
}

// What is typed and not sent yet: it outlives the session, and a reload, for the one who typed it and in this tab only.
import { current } from "./api.js";

const KEY = "drafts";

/** @type {{whose: string, texts: Record<string, any>}} */
let drafts = JSON.parse(sessionStorage.getItem(KEY) ?? "null") ?? { whose: "", texts: {} };

const store = () => sessionStorage.setItem(KEY, JSON.stringify(drafts));

/** @param {string} form @param {any} typed */
export function keep(form, typed) {
  const whose = current()?.username ?? drafts.whose;
  if (whose !== drafts.whose) drafts = { whose, texts: {} };
  drafts.texts[form] = typed;
  store();
}

/** @param {string} form @returns {any} what the operator typed in it; undefined for nothing */
export const kept = (form) => (drafts.whose === current()?.username ? drafts.texts[form] : undefined);

/** The form is sent, or given up: not so if it goes because the session has ended. @param {string} form */
export function forget(form) {
  if (!current()) return;
  delete drafts.texts[form];
  store();
}

/** At a log-out: nothing is for whoever comes next. */
export function forgetAll() {
  drafts = { whose: "", texts: {} };
  store();
}

/** What is in the fields of a form; a password is never kept. @param {HTMLFormElement} form */
export const typedIn = (form) => fieldsOf(form).map((field) => [field.name, field.type === "checkbox" ? field.checked : field.value]);

/** @param {HTMLFormElement} form @param {[name: string, value: string | boolean][]} typed */
export function typeInto(form, typed) {
  const values = new Map(typed);
  for (const field of fieldsOf(form)) {
    const value = values.get(field.name);
    if (typeof value === "boolean") field.checked = value;
    else if (value !== undefined) field.value = value;
  }
}

/** @param {HTMLFormElement} form */
const fieldsOf = (form) =>
  /** @type {HTMLInputElement[]} */ ([...form.elements]).filter(({ name, type }) => name && type !== "password");

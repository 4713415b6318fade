// The shell: who is logged in, which page the address names, and what is around it.
import { html, nothing, ref, render } from "./vendor/lit.js";
import { Problem, current as currentSession, logIn, logOut, may, mayManage, onEnded, provider, resume, wasByProvider } from "./api.js";
import { closeIdle } from "./dialogs.js";
import { forgetAll } from "./drafts.js";
import { Live } from "./live.js";
import { clock, problemView, said } from "./parts.js";
import { openPalette, showKeys } from "./palette.js";
import { comeBack, leaveFor, mayLeave } from "./provider.js";
import { agentPage } from "./pages/agent.js";
import { agentsPage } from "./pages/agents.js";
import { auditPage } from "./pages/audit.js";
import { commandPage } from "./pages/command.js";
import { commandsPage } from "./pages/commands.js";
import { operatorsPage } from "./pages/operators.js";
import { overviewPage } from "./pages/overview.js";
import { sendPage } from "./pages/send.js";
import { sessionsPage } from "./pages/sessions.js";
import { webhookPage, webhooksPage } from "./pages/webhooks.js";

const BASE = "/console/";
const RELOAD_MOST = 30_000;
const RELOAD_LEAST = 1_500;
/** A page is not read again before so many times as long as it took: over a slow network it is read more seldom. */
const REST = 4;

/**
 * The pages, in the order of the navigation.
 * @type {{path: string, name: string, make: (shell: Shell) => Page, item?: (shell: Shell) => Page, shown?: () => boolean}[]}
 */
const PAGES = [
  { path: "", name: "Overview", make: overviewPage },
  { path: "agents", name: "Agents", make: agentsPage, item: agentPage },
  { path: "commands", name: "Commands", make: commandsPage, item: commandPage },
  { path: "send", name: "Send", make: sendPage, shown: () => may("sender") },
  { path: "sessions", name: "Sessions", make: sessionsPage },
  { path: "webhooks", name: "Webhooks", make: webhooksPage, item: webhookPage, shown: () => may("admin") },
  { path: "operators", name: "Operators", make: operatorsPage },
  { path: "audit", name: "Audit log", make: auditPage, shown: mayManage },
];

const root = /** @type {HTMLElement} */ (document.getElementById("app"));
const live = new Live(heard);

root.replaceChildren();

/** @type {Page | null} */
let page = null;
/** @type {"loading" | "ready" | "failed"} */
let state = "loading";
/** @type {unknown} */
let problem = null;
let told = "";
let menu = false;
let loaded = 0;
let took = 0;
let reloadTimer = 0;
let reading = new AbortController();

/** @type {Shell} */
const shell = {
  place: placeOf(location),
  get session() {
    return /** @type {Session} */ (currentSession());
  },
  redraw,
  reload,
  go,
  filter(changes) {
    const query = new URLSearchParams(shell.place.query);
    query.delete("cursor");
    for (const [name, value] of Object.entries(changes)) {
      if (value) query.set(name, value);
      else query.delete(name);
    }
    go(`${location.pathname}${query.size ? `?${query}` : ""}`);
  },
  tell(text) {
    told = text;
    redraw();
  },
};

/** @param {Location | URL} address @returns {Place} */
function placeOf(address) {
  const [name = "", item = ""] = address.pathname.slice(BASE.length).split("/");
  return { page: name, item: decodeURIComponent(item), query: new URLSearchParams(address.search) };
}

/** @param {string} address */
function go(address) {
  history.pushState(null, "", address);
  visit();
}

/** Shows what the address names; a page stays the same while only the query changes. */
function visit() {
  const before = shell.place;
  shell.place = placeOf(location);
  told = "";
  menu = false;
  if (!currentSession()) return redraw();
  const same = page && before.page === shell.place.page && before.item === shell.place.item;
  if (!same) {
    page?.close?.();
    page = makePage();
    state = "loading";
  }
  problem = null;
  redraw();
  if (!same) {
    scrollTo(0, 0);
    root.querySelector("h1")?.focus({ preventScroll: true });
  }
  void reload();
}

/** @returns {Page} */
function makePage() {
  const found = PAGES.find(({ path }) => path === shell.place.page);
  const make = shell.place.item ? found?.item : found?.make;
  return make ? make(shell) : missingPage();
}

/** @returns {Page} */
function missingPage() {
  return {
    title: "No such page",
    async load() {},
    view: () => html`<p>There is no page at this address. <a href=${BASE}>Go to the overview</a>.</p>`,
  };
}

async function reload() {
  if (!page || !currentSession()) return;
  clearTimeout(reloadTimer);
  reloadTimer = 0;
  reading.abort();
  const mine = (reading = new AbortController());
  const asked = page;
  const began = Date.now();
  try {
    await asked.load(mine.signal);
    if (mine.signal.aborted) return;
    state = "ready";
    problem = null;
    loaded = Date.now();
    took = loaded - began;
  } catch (error) {
    if (mine.signal.aborted) return;
    problem = error;
    if (state === "loading") state = "failed";
  }
  if (page === asked) redraw();
}

/** @param {FeedEvent[]} events @param {boolean} missed */
function heard(events, missed) {
  if (page && currentSession()) {
    const concerned = events.some((event) => page?.concerns?.(event) ?? false);
    if (concerned || (missed && loaded) || (live.state === "live" && problem)) reloadSoon();
  }
  redraw();
}

function reloadSoon() {
  if (reloadTimer) return;
  reloadTimer = setTimeout(() => {
    reloadTimer = 0;
    // When the tab is seen again, the feed says that events may have been missed.
    if (!document.hidden) void reload();
  }, Math.max(0, loaded + Math.max(RELOAD_LEAST, REST * took) - Date.now()));
}

// Moments grow old, and presence ends without an event.
setInterval(() => {
  if (document.hidden || !currentSession()) return;
  if (Date.now() - loaded > RELOAD_MOST && !reloadTimer) reloadSoon();
  redraw();
}, 5_000);

let drawing = false;

function redraw() {
  if (drawing) return;
  drawing = true;
  queueMicrotask(() => {
    drawing = false;
    const title = currentSession() ? (page?.title ?? "") : "Log in";
    document.title = `${title} · Agent Command Dispatcher`;
    render(currentSession() && page ? frame(page) : logInView(), root);
  });
}

/** @param {Page} shown */
function frame(shown) {
  const entries = PAGES.filter((each) => each.shown?.() ?? true);
  return html`<a class="skip" href="#main" @click=${toMain}>Skip to the content</a>
    <header class="top">
      <button class="menu" aria-expanded=${menu} aria-controls="nav" @click=${toggleMenu}>
        <span aria-hidden="true">☰</span> Menu
      </button>
      <a class="brand" href=${BASE}>Dispatcher</a>
      ${liveView()}
      <button class="search" @click=${palette} aria-keyshortcuts="k Control+K">Go to… <kbd>k</kbd></button>
      <button @click=${nextTheme} class="theme" title="Dark, light, or as the system says">${themeName()}</button>
      <span class="who">${said(shell.session.username)} <span class="role">${shell.session.role}</span></span>
      <button @click=${leave}>Log out</button>
    </header>
    <nav id="nav" class=${menu ? "open" : ""} aria-label="Pages">
      ${entries.map(
        ({ path, name }) =>
          html`<a href=${BASE + path} aria-current=${path === shell.place.page ? "page" : nothing}>${name}</a>`,
      )}
    </nav>
    <main id="main" tabindex="-1" aria-busy=${state === "loading"}>
      <h1 tabindex="-1">${said(shown.title)}</h1>
      <p class="told" role="status">${told}</p>
      ${state === "loading" ? html`<p class="loading">Loading…</p>` : nothing}
      ${problem ? problemView(problem, () => reload()) : nothing} ${state === "ready" ? shown.view() : nothing}
    </main>`;
}

function liveView() {
  const names = { live: ["●", "Live"], paused: ["‖", "Paused"], cut: ["▲", "Cut off, as of"] };
  const [sign, name] = names[live.state];
  return html`<span class="live ${live.state}" role="status">
    <span aria-hidden="true">${sign}</span> ${name}
    ${live.state === "cut"
      ? html`${clock(live.heard)} <button @click=${() => live.now()}>Try now</button>`
      : nothing}
  </span>`;
}

/** Where to log in without a password of this service; undefined: not asked yet. @type {import("./api.js").Provider | null | undefined} */
let elsewhere;

function logInView() {
  if (elsewhere === undefined) askForProvider();
  return html`<main class="login">
    <form @submit=${submitLogIn}>
      <h1>Agent Command Dispatcher</h1>
      ${elsewhere
        ? html`<button type="button" class="primary" @click=${goElsewhere}>Log in with ${new URL(elsewhere.issuer).host}</button>
            <p class="or">or with a password of this service</p>`
        : nothing}
      <label>Username <input name="username" autocomplete="username" required ${ref(focusOnce)} /></label>
      <label>Password <input name="password" type="password" autocomplete="current-password" required /></label>
      ${problem ? problemView(problem, null, { 0: "Try again in a moment.", 403: "" }) : nothing}
      <button class=${elsewhere ? "" : "primary"}>Log in</button>
      <p class="hint">An admin creates accounts. <code>make up</code> prints the first password.</p>
    </form>
  </main>`;
}

function askForProvider() {
  elsewhere = null;
  provider().then((found) => {
    elsewhere = found;
    redraw();
  }, (error) => {
    // Passwords work without it.
    if (error instanceof Problem && error.status === 503) {
      problem ??= new Problem(503, "Your identity provider cannot be reached", error.detail);
      redraw();
    }
  });
}

async function goElsewhere() {
  try {
    if (elsewhere) await leaveFor(elsewhere);
  } catch (error) {
    problem = error;
    redraw();
  }
}

let focused = false;

/** @param {Element | undefined} field */
function focusOnce(field) {
  if (field && !focused) setTimeout(() => /** @type {HTMLElement} */ (field).focus());
  focused = field !== undefined;
}

/** @param {SubmitEvent} event */
async function submitLogIn(event) {
  event.preventDefault();
  const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
  try {
    await logIn(String(form.get("username")), String(form.get("password")));
    begin();
  } catch (error) {
    problem = error;
    redraw();
  }
}

async function leave() {
  try {
    await logOut();
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 401) return shell.tell(`You are still logged in: ${error}`);
  }
  forgetAll();
  end(null);
}

/** @param {unknown} why */
function end(why) {
  elsewhere = undefined;
  live.stop();
  reading.abort();
  page?.close?.();
  page = null;
  problem = why;
  closeIdle();
  redraw();
}

function begin() {
  problem = null;
  page = null;
  visit();
  live.start();
}

const palette = () => openPalette(shell, PAGES.filter((each) => each.shown?.() ?? true), page?.actions?.() ?? []);

/** @param {Event} event */
function toMain(event) {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

function toFilters() {
  const form = root.querySelector("form.filters");
  form?.closest("details")?.setAttribute("open", "");
  form?.querySelector("input")?.focus();
}

function toggleMenu() {
  menu = !menu;
  redraw();
}

const THEMES = ["auto", "dark", "light"];

function themeName() {
  const theme = document.documentElement.dataset.theme ?? "auto";
  return { auto: "Theme: auto", dark: "Theme: dark", light: "Theme: light" }[theme];
}

function nextTheme() {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % THEMES.length] ?? "auto";
  localStorage.setItem("theme", next);
  document.documentElement.dataset.theme = next;
  dispatchEvent(new Event("themechange"));
  redraw();
}

document.documentElement.dataset.theme = localStorage.getItem("theme") ?? "auto";

addEventListener("popstate", visit);
document.addEventListener("click", (event) => {
  const link = /** @type {Element} */ (event.target).closest?.("a[href]");
  if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const address = new URL(/** @type {HTMLAnchorElement} */ (link).href);
  if (address.origin !== location.origin || !address.pathname.startsWith(BASE) || address.hash) return;
  event.preventDefault();
  go(address.pathname + address.search);
});
document.addEventListener("keydown", (event) => {
  if (!currentSession() || document.querySelector("dialog[open]") || event.altKey) return;
  const typing = /** @type {Element} */ (event.target).matches("input, textarea, select, [contenteditable]");
  const withCommand = event.ctrlKey || event.metaKey;
  const key = event.key.toLowerCase();
  if (key === "k" && (withCommand || !typing)) palette();
  else if (typing || withCommand) return;
  else if (key === "/") toFilters();
  else if (key === "?") showKeys();
  else return;
  event.preventDefault();
});

onEnded(() => {
  const typing = shell.place.page === "send" || document.querySelector("dialog[open], form.in-place");
  end(new Problem(401, "You are logged out", "Your session has ended. Log in to go on where you were."));
  // The issuer's token has expired: who is still logged in there comes back at once.
  if (wasByProvider() && !typing && mayLeave()) provider().then((found) => found && leaveFor(found)).catch(() => {});
});

try {
  await comeBack();
  if (!currentSession()) await resume();
  if (currentSession()) begin();
} catch (error) {
  problem = error;
}
redraw();

// The service's HTTP API, as this page calls it: the session is in a cookie that no script can read.

/** A problem document (RFC 9457), or the fact that there was no answer (status 0). */
export class Problem extends Error {
  /** @param {number} status @param {string} title @param {string} detail */
  constructor(status, title, detail) {
    super(detail || title);
    this.status = status;
    this.title = title;
    this.detail = detail;
  }
}

/** Whether it makes sense to ask for a session: the cookie is not to be seen. */
const WAS_HERE = "was-logged-in";
const PROVIDER = "provider";

/** Tells whether the last log-in of this browser was at the provider, and nobody has logged out since. */
export const wasByProvider = () => localStorage.getItem(WAS_HERE) === PROVIDER;

/** @type {Session | null} */
let session = null;
let ended = () => {};

/** Where the browser logs in, beside the form: read when the form is shown. @typedef {{issuer: string, authorizationEndpoint: string, clientId: string, scope: string}} Provider */

/** @returns {Session | null} who is logged in */
export const current = () => session;

/** @param {() => void} listener is called when the service says that nobody is logged in any more */
export function onEnded(listener) {
  ended = listener;
}

/**
 * Tells whether the operator has a role.
 * @param {Role} role
 */
export function may(role) {
  const roles = ["reader", "sender", "admin"];
  return session !== null && roles.indexOf(session.role) >= roles.indexOf(role);
}

/** Tells whether the operator is an admin without a label limit. */
export const mayManage = () => may("admin") && session?.labels === null;

/**
 * @typedef {object} Options
 * @property {unknown} [body] is sent as JSON
 * @property {Record<string, unknown> | URLSearchParams} [query] null, undefined and "" are left out
 * @property {string} [reason] is kept in the audit log
 * @property {string} [key] the idempotency key
 * @property {string | null} [version] what it may replace; another version is a Problem with the status 412
 * @property {AbortSignal} [signal]
 */

/**
 * Calls an operation; throws a Problem.
 * @param {string} method
 * @param {string} path
 * @param {Options} [options]
 * @returns {Promise<any>} the document; null without one
 */
export async function call(method, path, options) {
  return (await request(method, path, options)).document;
}

/**
 * Reads a document with its version.
 * @param {string} path
 * @returns {Promise<{document: any, version: string | null}>}
 */
export const read = (path) => request("GET", path);

/**
 * @param {string} method
 * @param {string} path
 * @param {Options} [options]
 * @returns {Promise<{document: any, version: string | null}>}
 */
async function request(method, path, { body, query, reason, key, version, signal } = {}) {
  /** @type {Record<string, string>} */
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (session && method !== "GET") headers["X-CSRF-Token"] = session.csrfToken;
  if (reason) headers["Audit-Reason"] = encodeURIComponent(reason);
  if (key) headers["Idempotency-Key"] = key;
  if (version) headers["If-Match"] = version;
  let response;
  try {
    response = await fetch(`/api/v1${path}${queryOf(query)}`, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ?? AbortSignal.timeout(30_000),
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, "The service cannot be reached", "Check the network, and whether the service runs.");
  }
  const text = await response.text();
  if (response.ok) return { document: text ? JSON.parse(text) : null, version: response.headers.get("ETag") };
  const problem = problemOf(response.status, text);
  if (response.status === 401 && session) {
    session = null;
    ended();
  }
  throw problem;
}

/** @param {string} path @param {Options} [options] */
export const get = (path, options) => call("GET", path, options);

/**
 * Reads a page of a list.  A page may end early, so this goes on until there is an item, for a few pages.
 * @param {string} path
 * @param {string} plural the member with the items
 * @param {Record<string, unknown>} query
 * @param {AbortSignal} [signal]
 * @returns {Promise<{items: any[], next: string | null}>}
 */
export async function list(path, plural, query, signal) {
  let cursor = query.cursor;
  for (let left = 10; ; left -= 1) {
    const page = await get(path, { query: { ...query, cursor }, signal });
    if (page[plural].length || !page.nextCursor || left === 1) return { items: page[plural], next: page.nextCursor };
    cursor = page.nextCursor;
  }
}

/** Finds out who is logged in; returns null for nobody. */
export async function resume() {
  if (!localStorage.getItem(WAS_HERE)) return null;
  try {
    session = await get("/auth/session");
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 401) throw error;
    session = null;
  }
  return session;
}

/** @param {string} username @param {string} password */
export async function logIn(username, password) {
  session = await call("POST", "/auth/session", { body: { username, password } });
  localStorage.setItem(WAS_HERE, "yes");
}

/** @returns {Promise<Provider | null>} where operators log in without a password of this service */
export const provider = async () => (await get("/auth/provider")).openIdConnect;

/**
 * Logs in with what the provider gave.
 * @param {{code: string, codeVerifier: string, redirectUri: string}} given
 */
export async function logInWith(given) {
  session = await call("POST", "/auth/provider", { body: given });
  localStorage.setItem(WAS_HERE, PROVIDER);
}

export async function logOut() {
  await call("DELETE", "/auth/session");
  localStorage.removeItem(WAS_HERE);
  session = null;
}

/** @param {string} id @returns {string} the segment of a path for an id */
export const segment = (id) => encodeURIComponent(id);

/** @param {number} status @param {string} text */
function problemOf(status, text) {
  try {
    const { title, detail } = JSON.parse(text);
    return new Problem(status, title ?? `Error ${status}`, detail ?? "");
  } catch {
    return new Problem(status, `The service answered ${status}`, "Try again in a moment.");
  }
}

/** @param {Options["query"]} query */
function queryOf(query) {
  const entries = query instanceof URLSearchParams ? [...query] : Object.entries(query ?? {});
  const given = entries.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length ? `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}` : "";
}

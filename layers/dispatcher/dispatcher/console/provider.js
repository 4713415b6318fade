// Log-in at an OpenID Connect issuer: the browser goes there, and comes back with a code (RFC 7636).
import { Problem, logInWith } from "./api.js";

const KEY = "log-in";
/** The address that is registered at the issuer. */
const RETURN = "/console/";

/** @param {ArrayBuffer | Uint8Array<ArrayBuffer>} bytes */
const text = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const random = () => text(crypto.getRandomValues(new Uint8Array(32)));

/** The last time that the page left by itself, so that it never goes round in circles. */
const LEFT = "left-at";
const LEFT_LEAST = 60_000;

/** Tells whether the page may leave for the issuer by itself now; if so, this counts as once. */
export function mayLeave() {
  if (Date.now() - Number(sessionStorage.getItem(LEFT)) < LEFT_LEAST) return false;
  sessionStorage.setItem(LEFT, String(Date.now()));
  return true;
}

/**
 * Leaves for the issuer.
 * @param {import("./api.js").Provider} provider
 */
export async function leaveFor({ authorizationEndpoint, clientId, scope }) {
  if (!crypto.subtle) throw new Problem(0, "This needs https", "Over http, browsers do this only on this machine.");
  const [verifier, state] = [random(), random()];
  sessionStorage.setItem(KEY, JSON.stringify({ verifier, state, back: location.pathname + location.search }));
  const address = new URL(authorizationEndpoint);
  const asked = {
    response_type: "code",
    client_id: clientId,
    redirect_uri: location.origin + RETURN,
    scope,
    state,
    code_challenge: text(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier))),
    code_challenge_method: "S256",
  };
  for (const [name, value] of Object.entries(asked)) address.searchParams.set(name, value);
  location.assign(address);
}

/** Logs in, if the address shows that the browser comes from the issuer; then the address is the one of before. */
export async function comeBack() {
  const query = new URLSearchParams(location.search);
  const state = query.get("state");
  if (location.pathname !== RETURN || !state) return;
  const begun = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
  sessionStorage.removeItem(KEY);
  history.replaceState(null, "", begun?.state === state ? begun.back : RETURN);
  if (begun?.state !== state) throw new Problem(400, "The log-in was not begun here", "Begin it again, in one tab.");
  const code = query.get("code");
  if (!code) throw new Problem(401, "The log-in was refused", query.get("error_description") ?? query.get("error") ?? "");
  await logInWith({ code, codeVerifier: begun.verifier, redirectUri: location.origin + RETURN });
}

// Who may act: operators, the caller's API tokens, and enrolment tokens for new agents.
import { html, nothing, repeat } from "../vendor/lit.js";
import { call, get, list, may, mayManage, segment } from "../api.js";
import { act, perform, showSecret } from "../dialogs.js";
import { empty, labelsOf, mark, moment, said, table } from "../parts.js";
import { after } from "./agent-actions.js";
import { parseLabels } from "./labels.js";

const ROLES = ["reader", "sender", "admin"];

/** @param {Shell} shell @returns {Page} */
export function operatorsPage(shell) {
  /** @type {any[]} */
  let operators = [];
  /** @type {any[]} */
  let tokens = [];
  /** @type {any[]} */
  let enrolments = [];

  const put = (/** @type {any} */ operator = null) => perform(shell, {
    title: operator ? `Change ${operator.username}` : "Create an operator",
    text: operator ? html`<p>Another password or fewer rights end all of the operator's sessions and tokens.</p>` : nothing,
    confirm: operator ? "Save" : "Create",
    fields: html`
      ${operator ? nothing : html`<label>Username <input name="username" required maxlength="128" autocomplete="off" /></label>`}
      <label>Password, at least 12 characters <input name="password" type="password" required minlength="12" autocomplete="new-password" /></label>
      <label>Role <select name="role">${ROLES.map((role) => html`<option ?selected=${role === (operator?.role ?? "reader")}>${role}</option>`)}</select></label>
      <label>Only agents with these labels; empty: all agents <input name="labels" placeholder="env=prod" autocomplete="off" .value=${Object.entries(operator?.labels ?? {}).map(([name, value]) => `${name}=${value}`).join(",")} /></label>`,
    run(reason, form) {
      const labels = parseLabels(String(form.get("labels")));
      const body = { password: form.get("password"), role: form.get("role"), labels: Object.keys(labels).length ? labels : null };
      return call("PUT", `/operators/${segment(operator?.username ?? String(form.get("username")))}`, { body, reason });
    },
  }, operator ? `${operator.username} is changed.` : "The operator is created.");

  const disable = (/** @type {string} */ username) => perform(shell, {
    title: `Disable ${username}?`,
    text: html`<p>All of the operator's sessions and tokens end at once.</p>`,
    confirm: "Disable",
    danger: true,
    run: (reason) => call("DELETE", `/operators/${segment(username)}`, { reason }),
  }, `${username} is disabled.`);

  const makeToken = () => secret("Create an API token", "/tokens", html`
      <label>Name <input name="name" required maxlength="128" autocomplete="off" /></label>
      <label>Role <select name="role">${ROLES.filter((role) => may(/** @type {Role} */ (role))).map((role) => html`<option>${role}</option>`)}</select></label>
      <label>Days <input name="days" type="number" min="1" max="365" value="90" required /></label>`,
    (form) => ({ name: form.get("name"), role: form.get("role"), ttlSeconds: Number(form.get("days")) * 86_400 }));

  const makeEnrolment = () => secret("Create an enrolment token", "/enrolment-tokens", html`
      <label>Beginning of the agents' ids <input name="prefix" required maxlength="128" placeholder="edge-" autocomplete="off" /></label>
      <label>Labels <input name="labels" placeholder="env=prod" autocomplete="off" /></label>
      <label>Uses <input name="uses" type="number" min="1" max="100000" value="1" required /></label>
      <label>Hours <input name="hours" type="number" min="1" max="168" value="1" required /></label>
      <label class="check"><input name="approved" type="checkbox" /> Agents need no approval</label>`,
    (form) => ({
      prefix: form.get("prefix"), labels: parseLabels(String(form.get("labels"))), uses: Number(form.get("uses")),
      ttlSeconds: Number(form.get("hours")) * 3600, approved: form.get("approved") !== null,
    }));

  /** @param {string} title @param {string} path @param {unknown} fields @param {(form: FormData) => unknown} body */
  async function secret(title, path, fields, body) {
    /** @type {any} */
    let made;
    await act({ title, fields, confirm: "Create", run: async (reason, form) => { made = await call("POST", path, { body: body(form), reason }); } });
    if (!made) return;
    await showSecret("The token", made.token);
    await after(shell, "The token is created.");
  }

  /** @param {string} path @param {string} what */
  const revoke = (path, what) => perform(shell, {
    title: `Revoke ${what}?`,
    confirm: "Revoke",
    danger: true,
    run: (reason) => call("DELETE", path, { reason }),
  }, `${what} is revoked.`);

  return {
    title: "Operators and tokens",
    async load(signal) {
      const [found, own, forAgents] = await Promise.all([
        mayManage() ? list("/operators", "operators", { limit: 200 }, signal) : { items: [] },
        get("/tokens", { query: { limit: 200 }, signal }),
        may("admin") ? get("/enrolment-tokens", { query: { limit: 200 }, signal }) : { enrolmentTokens: [] },
      ]);
      operators = found.items;
      tokens = own.tokens;
      enrolments = forAgents.enrolmentTokens;
    },
    view: () => html`
      <section class="card">
        <h2>Operators</h2>
        ${mayManage()
          ? html`${table("Operators", ["Operator", "Role", "Only agents with", "Created", "State", "Actions"], repeat(operators, ({ username }) => username, (operator) => html`<tr>
                <td>${said(operator.username)}</td><td data-name="Role">${operator.role}</td>
                <td data-name="Only agents with">${operator.labels ? labelsOf(operator.labels) : "all agents"}</td><td data-name="Created">${moment(operator.createdAt)}</td>
                <td data-name="State">${operator.disabledAt ? html`${mark("idle", "⊘", "disabled")} ${moment(operator.disabledAt)}` : mark("good", "✓", "enabled")}</td>
                <td class="buttons"><button @click=${() => put(operator)}>Change</button>${operator.disabledAt || operator.username === shell.session.username ? nothing : html`<button class="danger" @click=${() => disable(operator.username)}>Disable</button>`}</td>
              </tr>`))}
              <button @click=${() => put()}>Create an operator</button>`
          : html`<p>You are ${said(shell.session.username)}, ${shell.session.role}${shell.session.labels ? html`, for agents with ${labelsOf(shell.session.labels)}` : nothing}.
              To see and change operators takes an admin without a label limit: ask one.</p>`}
      </section>
      <section class="card">
        <h2>Your API tokens</h2>
        ${tokens.length
          ? table("Your API tokens", ["Name", "Role", "Created", "Expires", "Actions"], repeat(tokens, ({ tokenId }) => tokenId, (token) => html`<tr>
              <td>${said(token.name)}</td><td data-name="Role">${token.role}</td><td data-name="Created">${moment(token.createdAt)}</td><td data-name="Expires">${moment(token.expiresAt)}</td>
              <td><button class="danger" @click=${() => revoke(`/tokens/${segment(token.tokenId)}`, token.name)}>Revoke</button></td>
            </tr>`))
          : empty("You have no API token. Programs and the command line use one.")}
        <button @click=${makeToken}>Create an API token</button>
      </section>
      ${may("admin") ? html`<section class="card">
        <h2>Enrolment tokens</h2>
        ${enrolments.length
          ? table("Enrolment tokens", ["For", "Labels", "Uses left", "Approval", "Expires", "By", "Actions"], repeat(enrolments, ({ tokenId }) => tokenId, (token) => html`<tr>
              <td>${said(token.agentId ?? `${token.prefix}…`)}</td><td data-name="Labels">${labelsOf(token.labels)}</td><td data-name="Uses left" class="number">${token.usesLeft}</td>
              <td data-name="Approval">${token.approved ? "not needed" : "needed"}</td><td data-name="Expires">${moment(token.expiresAt)}</td><td data-name="By">${said(token.createdBy)}</td>
              <td><button class="danger" @click=${() => revoke(`/enrolment-tokens/${segment(token.tokenId)}`, "The enrolment token")}>Revoke</button></td>
            </tr>`))
          : empty("No enrolment token is valid. With one, new agents register themselves.")}
        <button @click=${makeEnrolment}>Create an enrolment token</button>
      </section>` : nothing}`,
    actions: () => [
      ...(mayManage() ? [{ name: "Create an operator", run: () => void put() }] : []),
      { name: "Create an API token", run: () => void makeToken() },
      ...(may("admin") ? [{ name: "Create an enrolment token", run: () => void makeEnrolment() }] : []),
    ],
  };
}

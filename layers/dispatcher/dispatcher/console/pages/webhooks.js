// Webhooks: who is told of events, whether that works, and each try.
import { html, nothing, repeat } from "../vendor/lit.js";
import { call, get, list, may, segment } from "../api.js";
import { act, perform, showSecret } from "../dialogs.js";
import { agentLink, empty, labelsOf, mark, moment, noRights, pager, said, table } from "../parts.js";
import { given } from "../filters.js";

/**
 * @typedef {object} Webhook
 * @property {string} webhookId
 * @property {string} url
 * @property {string[] | null} types
 * @property {string | null} selector
 * @property {string | null} description
 * @property {Record<string, string> | null} labels
 * @property {string} createdAt
 * @property {string} changedBy
 * @property {boolean} enabled
 * @property {string | null} disabledReason
 * @property {number} failures
 * @property {string | null} failingSince
 * @property {string | null} nextTryAt
 * @property {string | null} waitingSince
 * @property {string | null} oldSecretUntil
 */

const NEEDED = "an admin";

/** @param {Shell} shell @returns {Page} */
export function webhooksPage(shell) {
  /** @type {Webhook[]} */
  let webhooks = [];
  /** @type {string | null} */
  let next = null;

  async function create() {
    /** @type {any} */
    let made;
    await act({
      title: "Create a webhook",
      text: html`<p>It is told of events from now on, with a signature.</p>`,
      confirm: "Create",
      fields: html`<label>URL <input name="url" type="url" required placeholder="https://example.com/hook" autocomplete="off" /></label>
        <label>Types of events, with commas; empty: all <input name="types" placeholder="command.failed,command.dead" autocomplete="off" /></label>
        <label>Labels of the agents; empty: all <input name="selector" placeholder="env=prod" autocomplete="off" /></label>
        <label>Description <input name="description" maxlength="256" autocomplete="off" /></label>`,
      async run(reason, form) {
        const types = String(form.get("types")).split(",").map((type) => type.trim()).filter(Boolean);
        const body = {
          url: form.get("url"),
          types: types.length ? types : null,
          selector: form.get("selector") || null,
          description: form.get("description") || null,
        };
        made = await call("POST", "/webhooks", { body, reason });
      },
    });
    if (!made) return;
    await showSecret("The secret of the webhook", made.secret);
    shell.go(`/console/webhooks/${segment(made.webhookId)}`);
  }

  return {
    title: "Webhooks",
    async load(signal) {
      if (!may("admin")) return;
      ({ items: webhooks, next } = await list("/webhooks", "webhooks", given(shell, ["cursor", "limit"]), signal));
    },
    view: () => !may("admin") ? noRights(shell, "see webhooks", NEEDED) : html`
      <p class="buttons start"><button @click=${create}>Create a webhook</button></p>
      ${webhooks.length
        ? table("Webhooks", ["URL", "State", "Types", "Agents", "Made"], repeat(webhooks, ({ webhookId }) => webhookId, (webhook) => html`<tr>
            <td><a href="/console/webhooks/${segment(webhook.webhookId)}">${said(webhook.url)}</a> <span class="hint">${said(webhook.description ?? "")}</span></td>
            <td data-name="State">${stateOf(webhook)}</td>
            <td data-name="Types">${webhook.types ? said(webhook.types.join(", ")) : "all"}</td>
            <td data-name="Agents">${webhook.selector ? said(webhook.selector) : "all"}</td>
            <td data-name="Made">${moment(webhook.createdAt)}</td>
          </tr>`))
        : empty("Nobody is told of events. A webhook calls your service when something happens.")}
      ${pager(shell, next)}`,
    actions: () => (may("admin") ? [{ name: "Create a webhook", run: () => void create() }] : []),
  };
}

/** @param {Shell} shell @returns {Page} */
export function webhookPage(shell) {
  const path = `/webhooks/${segment(shell.place.item)}`;
  /** @type {Webhook} */
  let webhook;
  /** @type {any[]} */
  let deliveries = [];
  /** @type {string | null} */
  let next = null;
  /** What came of a test. @type {Record<string, any> | null} */
  let trial = null;

  const test = () => perform(shell, {
    title: "Send a test?",
    text: html`<p>A message of the type webhook.test is sent to ${said(webhook.url)} now.</p>`,
    confirm: "Send a test",
    run: async (reason) => { trial = await call("POST", `${path}/test`, { reason }); },
  }, "The test was sent: see the tries.");

  async function renew() {
    /** @type {any} */
    let made;
    await act({
      title: "A new secret?",
      text: html`<p>The old one signs beside it for a while, so that your service can change over.</p>`,
      confirm: "Make a secret",
      run: async (reason) => { made = await call("POST", `${path}/secret`, { reason }); },
    });
    if (!made) return;
    await showSecret("The new secret", made.secret);
    await shell.reload();
  }

  const enable = (/** @type {boolean} */ enabled) => perform(shell, {
    title: enabled ? "Enable it?" : "Disable it?",
    text: html`<p>${enabled ? "It goes on where it stopped." : "Events wait until it is enabled, as long as they are kept."}</p>`,
    confirm: enabled ? "Enable" : "Disable",
    run: (reason) => call("PATCH", path, { body: { enabled }, reason }),
  }, enabled ? "The webhook is enabled." : "The webhook is disabled.");

  const remove = async () => {
    const done = await act({
      title: "Delete the webhook?",
      text: html`<p>Its delivery log is deleted too.</p>`,
      confirm: "Delete",
      danger: true,
      run: (reason) => call("DELETE", path, { reason }),
    });
    if (done) shell.go("/console/webhooks");
  };

  const actions = () => (!webhook || !may("admin") ? [] : [
    { name: "Send a test", run: () => void test() },
    { name: "Make a new secret", run: () => void renew() },
    webhook.enabled ? { name: "Disable", run: () => void enable(false) } : { name: "Enable", run: () => void enable(true) },
    { name: "Delete", run: () => void remove() },
  ]);

  return {
    title: "Webhook",
    async load(signal) {
      const [found, tries] = await Promise.all([
        get(path, { signal }),
        list(`${path}/deliveries`, "deliveries", given(shell, ["cursor", "limit"]), signal),
      ]);
      webhook = found;
      ({ items: deliveries, next } = tries);
    },
    view: () => html`
      <p class="lead">${stateOf(webhook)} ${said(webhook.url)}</p>
      <div class="buttons start">${actions().map(({ name, run }) => html`<button class=${name === "Delete" ? "danger" : ""} @click=${run}>${name}</button>`)}</div>
      ${trial ? html`<p class="why" role="status">${trial.delivered ? `The test was delivered: ${trial.status}.` : html`The test failed: ${said(trial.error ?? trial.status)}`}</p>` : nothing}
      <section class="card">
        <h2>Facts</h2>
        <dl class="facts">
          ${webhook.description ? html`<dt>Description</dt><dd>${said(webhook.description)}</dd>` : nothing}
          <dt>Types</dt><dd>${webhook.types ? said(webhook.types.join(", ")) : "all"}</dd>
          <dt>Agents</dt><dd>${webhook.selector ? said(webhook.selector) : "all"} ${webhook.labels ? html`within ${labelsOf(webhook.labels)}` : nothing}</dd>
          <dt>Rights of</dt><dd>${said(webhook.changedBy)}</dd>
          <dt>Made</dt><dd>${moment(webhook.createdAt)}</dd>
          ${webhook.failures ? html`<dt>Failing</dt><dd>${webhook.failures} times since ${moment(webhook.failingSince)}; the next try: ${moment(webhook.nextTryAt)}</dd>` : nothing}
          ${webhook.waitingSince ? html`<dt>Waiting</dt><dd>since ${moment(webhook.waitingSince)}</dd>` : nothing}
          ${webhook.disabledReason ? html`<dt>Disabled</dt><dd>${said(webhook.disabledReason)}</dd>` : nothing}
          ${webhook.oldSecretUntil ? html`<dt>Old secret</dt><dd>signs until ${moment(webhook.oldSecretUntil)}</dd>` : nothing}
        </dl>
      </section>
      <section class="card">
        <h2>Tries</h2>
        ${deliveries.length
          ? table("Tries to deliver, the newest first", ["At", "Event", "Agent", "Attempt", "Outcome", "Took"], deliveries.map((each) => html`<tr>
              <td>${moment(each.at)}</td><td data-name="Event">${said(each.type)}</td><td data-name="Agent">${each.agentId ? agentLink(each.agentId) : "–"}</td>
              <td data-name="Attempt" class="number">${each.attempt}</td>
              <td data-name="Outcome">${each.delivered ? mark("good", "✓", `delivered, ${each.status}`) : html`${mark("bad", "✕", "failed")} ${said(each.error ?? each.status ?? "")}`}</td>
              <td data-name="Took" class="number">${each.milliseconds} ms</td>
            </tr>`))
          : empty("It has not been called yet.")}
        ${pager(shell, next)}
      </section>`,
    concerns: () => true,
    actions,
  };
}

/** @param {Webhook} webhook */
function stateOf({ enabled, failures }) {
  if (!enabled) return mark("idle", "⊘", "disabled");
  return failures ? mark("bad", "✕", "failing") : mark("good", "✓", "enabled");
}

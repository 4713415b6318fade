// Events of the feed, as sentences.
import { html, nothing } from "../vendor/lit.js";
import { agentLink, badge, commandLink, said } from "../parts.js";

/** @param {FeedEvent} event @param {boolean} [ofAgent] on the page of its agent */
export function describe(event, ofAgent) {
  const [subject, happened = ""] = event.type.split(".");
  const cause = event.cause ? html`<span class="hint">${said(event.cause)}</span>` : nothing;
  if (subject === "command" && event.commandId) {
    return html`${commandLink(event.commandId)} ${said(event.action ?? "")} ${badge(happened)} ${agentLink(event.agentId)} ${cause}`;
  }
  return html`${ofAgent ? nothing : agentLink(event.agentId)} ${badge(happened)} ${cause}`;
}

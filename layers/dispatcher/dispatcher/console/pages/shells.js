// A command as a line for a shell, to send it again from there.

/** @param {string} text */
export const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

/** @param {Pick<Command, "agentId" | "action"> & {payload?: unknown}} command */
export function asDispatcher({ agentId, action, payload }) {
  const given = payload === undefined || payload === null ? "" : ` --payload ${quoted(JSON.stringify(payload))}`;
  return `dispatcher send ${quoted(agentId)} ${quoted(action)}${given}`;
}

/** @param {Pick<Command, "agentId" | "action"> & {payload?: unknown}} command */
export function asCurl({ agentId, action, payload }) {
  const body = JSON.stringify(payload === undefined ? { action } : { action, payload });
  return [
    `curl -X POST ${quoted(`${location.origin}/api/v1/agents/${encodeURIComponent(agentId)}/commands`)}`,
    `-H "Authorization: Bearer $DISPATCHER_TOKEN" -H 'Content-Type: application/json'`,
    `-d ${quoted(body)}`,
  ].join(" \\\n  ");
}

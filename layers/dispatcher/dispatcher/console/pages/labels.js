// Labels: written as a selector writes them, edited as a list.
import { html } from "../vendor/lit.js";
import { call, segment } from "../api.js";
import { act } from "../dialogs.js";

/**
 * Reads `env=prod,zone=eu-1`; throws an error that names the part that is wrong.
 * @param {string} text
 */
export function parseLabels(text) {
  const parts = text.split(/[,\n]/).map((part) => part.trim()).filter(Boolean);
  return Object.fromEntries(
    parts.map((part) => {
      const at = part.indexOf("=");
      if (at < 1) throw new Error(`“${part}” is no label; write name=value.`);
      return [part.slice(0, at).trim(), part.slice(at + 1).trim()];
    }),
  );
}

/** @param {Shell} shell @param {Agent} agent */
export async function editLabels(shell, agent) {
  const before = agent.labels;
  const lines = Object.entries(before).map(([name, value]) => `${name}=${value}`);
  const done = await act({
    title: `Labels of ${agent.agentId}`,
    confirm: "Save",
    fields: html`<label>One label a line, as name=value <textarea name="labels" rows=${Math.max(3, lines.length + 1)} spellcheck="false" .value=${lines.join("\n")}></textarea></label>`,
    async run(reason, form) {
      const after = parseLabels(String(form.get("labels")));
      const removed = Object.keys(before).filter((name) => !(name in after)).map((name) => [name, null]);
      const labels = { ...Object.fromEntries(removed), ...after };
      await call("PATCH", `/agents/${segment(agent.agentId)}`, { body: { labels }, reason });
    },
  });
  if (!done) return;
  await shell.reload();
  shell.tell(`The labels of ${agent.agentId} are saved.`);
}

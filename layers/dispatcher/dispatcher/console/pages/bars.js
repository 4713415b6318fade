// A command's life as bars on one axis: waiting, each attempt, executing.
import { html, svg } from "../vendor/lit.js";
import { clock, span } from "../parts.js";

const WIDTH = 1000;
const LANES = /** @type {const} */ (["waiting", "attempts", "executing"]);
/** The lane of each status that lasts. */
const LANE = /** @type {Record<string, number>} */ ({ pending: 0, sent: 1, acknowledged: 2 });

/** @param {Command} command @param {HistoryEntry[]} history */
export function bars(command, history) {
  const begin = Date.parse(command.createdAt);
  const end = Math.max(command.completedAt ? Date.parse(command.completedAt) : Date.now(), begin + 1);
  const whole = end - begin;
  const parts = history.flatMap((entry, index) => {
    const lane = LANE[entry.toStatus];
    if (lane === undefined) return [];
    const from = Math.max(Date.parse(entry.at), begin);
    const next = history[index + 1];
    const until = next ? Date.parse(next.at) : end;
    return [{ lane, attempt: entry.attempt, from, seconds: Math.max(0, until - from) / 1000, open: !next && !command.completedAt }];
  });
  const sums = LANES.map((_, lane) => parts.filter((part) => part.lane === lane).reduce((sum, part) => sum + part.seconds, 0));
  return html`<div class="bars">
    ${LANES.map((name, lane) => html`<div class="lane">
      <span class="name">${name} <span class="hint">${parts.some((part) => part.lane === lane) ? span(sums[lane]) : "–"}</span></span>
      <svg viewBox="0 0 ${WIDTH} 20" preserveAspectRatio="none" role="img" aria-label=${sentence(name, parts.filter((part) => part.lane === lane))}>
        ${parts.filter((part) => part.lane === lane).map((part) => svg`<rect class="${name}${part.open ? " open" : ""}"
          x=${((part.from - begin) / whole) * WIDTH} y="2" height="16" rx="2" width=${Math.max(((part.seconds * 1000) / whole) * WIDTH, 3)}
        ><title>${name}${lane ? `, attempt ${part.attempt}` : ""}: ${span(part.seconds)}</title></rect>`)}
      </svg>
    </div>`)}
    <div class="axis" aria-hidden="true"><span>${clock(new Date(begin))}</span><span>${span(whole / 2000)}</span><span>${command.completedAt ? clock(new Date(end)) : "now"} · ${span(whole / 1000)}</span></div>
  </div>`;
}

/** @param {string} name @param {{attempt: number, seconds: number, open: boolean}[]} parts */
function sentence(name, parts) {
  if (!parts.length) return `${name}: not yet`;
  return `${name}: ${parts.map((part) => `attempt ${part.attempt}, ${span(part.seconds)}${part.open ? " so far" : ""}`).join("; ")}`;
}

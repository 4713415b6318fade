// Lines over time, drawn by uPlot in the colours of the theme.
import uPlot from "./vendor/uplot.js";

const HEIGHT = 200;

/**
 * @param {{name: string, tone: string}[]} series
 * @returns {{attach: (place: Element | undefined) => void, show: (rows: number[][]) => void, close: () => void}}
 */
export function chart(series) {
  /** @type {HTMLElement | undefined} */
  let place;
  /** @type {uPlot | undefined} */
  let plot;
  /** @type {number[][]} */
  let columns = [[], ...series.map(() => [])];

  const draw = () => {
    plot?.destroy();
    plot = undefined;
    if (!place || !place.clientWidth) return;
    const colour = colours(place);
    const axis = { stroke: colour("quiet"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false } };
    plot = new uPlot(
      {
        width: place.clientWidth,
        height: HEIGHT,
        legend: { live: true },
        series: [
          { value: "{HH}:{mm}" },
          // Colour is never alone: each line has its own dashes.
          ...series.map(({ name, tone }, index) => ({ label: name, stroke: colour(tone), width: 2, dash: DASHES[index] ?? [] })),
        ],
        axes: [{ ...axis, values: "{HH}:{mm}" }, { ...axis, size: 44 }],
        scales: { y: { range: (_, __, most) => [0, Math.max(4, most ?? 0)] } },
      },
      /** @type {any} */ (columns),
      place,
    );
  };
  const watch = new ResizeObserver(() => plot?.setSize({ width: place?.clientWidth ?? 300, height: HEIGHT }));
  addEventListener("themechange", draw);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", draw);

  return {
    attach(element) {
      if (element === place) return;
      if (place) watch.unobserve(place);
      place = /** @type {HTMLElement | undefined} */ (element);
      if (place) watch.observe(place);
      // The element is in the document only after this.
      queueMicrotask(draw);
    },
    show(rows) {
      columns = [0, ...series.map((_, index) => index + 1)].map((column) => rows.map((row) => row[column] ?? 0));
      if (plot) plot.setData(/** @type {any} */ (columns));
      else draw();
    },
    close() {
      watch.disconnect();
      removeEventListener("themechange", draw);
      dark.removeEventListener("change", draw);
      plot?.destroy();
    },
  };
}

/**
 * Resolves the colours of the theme: a canvas knows no variables.
 * @param {HTMLElement} place
 */
const colours = (place) => (/** @type {string} */ name) => {
  place.style.color = `var(--${name})`;
  const { color } = getComputedStyle(place);
  place.style.color = "";
  return color;
};

const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3]];

export { html, nothing, render, svg, type TemplateResult } from "lit/html.js";
export { ref } from "lit/directives/ref.js";
export { repeat } from "lit/directives/repeat.js";

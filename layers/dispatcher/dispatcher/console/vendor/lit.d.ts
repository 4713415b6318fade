export { html, nothing, render, svg, type TemplateResult } from "lit/html.js";
export { live } from "lit/directives/live.js";
export { ref } from "lit/directives/ref.js";
export { repeat } from "lit/directives/repeat.js";

// A table of attributes.

import { html, nothing, render } from "lit";

/** Show `properties` (names to values) in `element`; `heading` and `after` are templates or texts. */
export function showAttributes(element, properties, { heading = nothing, after = nothing } = {}) {
  const rows = Object.entries(properties).filter(([, value]) => value !== null && value !== undefined && value !== "");
  render(
    html`${heading}
      <table class="facts">
        <tbody>
          ${rows.map(([name, value]) => html`<tr><th scope="row">${name}</th><td>${text(value)}</td></tr>`)}
        </tbody>
      </table>
      ${after}`,
    element,
  );
}

export function text(value) {
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(8)));
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

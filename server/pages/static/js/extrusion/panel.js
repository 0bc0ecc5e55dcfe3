// Switches of the light view: its layers, and the year whose city is shown.

import { html, nothing, render } from "lit";
import { GROUPS } from "../scene/groups.js";
import { text } from "../scene/texts.js";

const FIRST_YEAR = 1500;

export function showPanel(layers, follow) {
  const list = document.getElementById("layer-list");
  const time = document.getElementById("tool-time-body");

  const row = ({ settings: { id, title, simulated }, visible }) => html`<div class="layer"><label>
      <input type="checkbox" name=${id} .checked=${visible} @change=${(event) => change(() => layers.set(id, event.target.checked))} /><span>${title}</span></label>
      ${simulated ? html`<span class="badge badge-simulated">${text("simulated")}</span>` : nothing}</div>`;

  const change = (act) => {
    act();
    follow.later(true);
    draw();
  };

  const slider = () => {
    const now = new Date().getFullYear();
    const { year } = layers;
    return html`<label class="check"><input type="checkbox" name="time-on" .checked=${year !== null} @change=${(event) => change(() => layers.show(event.target.checked ? now : null))} /> ${text("heading_time")}</label>
      ${year === null ? nothing : html`<label class="slider"><span>${text("time_instant")} <output>${year}</output></span>
        <input type="range" name="year" min=${FIRST_YEAR} max=${now + 20} .value=${String(year)} @input=${(event) => change(() => layers.show(Number(event.target.value)))} /></label>`}`;
  };

  function draw() {
    const group = (name) => {
      const members = layers.all.filter(({ settings }) => settings.group === name);
      return members.length ? html`<fieldset class="layer-group"><legend>${text(`group_${name}`)}</legend>${members.map(row)}</fieldset>` : nothing;
    };
    render(GROUPS.map(group), list);
    render(layers.dated.length ? slider() : nothing, time);
  }

  follow.listeners.push(draw);
  draw();
  // On a phone the city comes first; the list opens with a tap.
  if (matchMedia("(max-width: 40rem)").matches) document.getElementById("extrusion-controls").open = false;
}

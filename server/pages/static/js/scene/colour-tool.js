// Colours of a layer as the reader chooses them: one colour, by category, by number; with the legend.

import { html, nothing } from "lit";
import { RAMPS } from "./colours.js";
import { filled, legendOf, suggested } from "./colouring.js";
import { text } from "./texts.js";

const PLAIN = "#4aa3a8";

export class ColourTool {
  constructor(city) {
    this.city = city;
    this.waiting = new Map(); // layer -> a colouring whose field has not been loaded yet
    city.on("learned", (layer) => {
      const chosen = this.waiting.get(layer);
      // The first tile alone says little of a city: look at the values when more have come.
      if (chosen) city.afterFrames(30, () => this.waiting.get(layer) === chosen && this.restore(layer, chosen));
    });
  }

  /** Colour a layer; null for its own colours. Step of the history unless `quiet`. */
  set(layer, chosen, { quiet = false } = {}) {
    const colouring = layer.points ? this.city.tools.points.filled(layer, chosen) : filled(layer, chosen);
    if (chosen && !colouring) return this.city.say(text("nothing_to_colour"));
    return this.put(layer, colouring, { quiet });
  }

  /** Colour a layer by a colouring that lacks nothing. */
  put(layer, colouring, { quiet = false } = {}) {
    layer.colouring = colouring;
    layer.applyLook();
    layer.city.scene.requestRender();
    this.city.emit("layers");
    if (!quiet) this.city.changed();
    return undefined;
  }

  /** Colour as an address says, as soon as the attributes are known. */
  restore(layer, chosen) {
    this.waiting.delete(layer);
    if (!chosen || chosen.mode === "single" || layer.points || layer.fields.ids.includes(chosen.field)) return this.set(layer, chosen ?? null, { quiet: true });
    if (layer.fields.ids.length === 0) this.waiting.set(layer, chosen);
    layer.colouring = chosen.mode === "number" ? chosen : { ...chosen, values: new Map() };
    return undefined;
  }

  choose(layer, value) {
    if (value === "") return this.set(layer, null);
    if (value === "#") return this.set(layer, { mode: "single", colour: layer.colouring?.colour ?? PLAIN });
    return this.set(layer, suggested(layer, value));
  }

  form(layer) {
    if (layer.points) return this.city.tools.points.form(layer);
    const { colouring, fields } = layer;
    fields.loadSchema().then(() => this.titled?.has(layer) || (this.titled = (this.titled ?? new Set()).add(layer)) && this.city.emit("layers"));
    const chosen = colouring ? (colouring.mode === "single" ? "#" : colouring.field) : "";
    const option = (value, label) => html`<option value=${value} ?selected=${chosen === value}>${label}</option>`;
    return html`<label class="field">${text("colour_by")}
        <select name=${`colour-${layer.id}`} @change=${(event) => this.choose(layer, event.target.value)}>
          ${option("", text("colour_own"))}${option("#", text("colour_single"))}
          ${fields.choices.map(({ id, title }) => option(id, title))}
        </select></label>
      ${colouring?.mode === "single" ? html`<label class="field">${text("colour")} <input type="color" .value=${colouring.colour} @change=${(event) => this.set(layer, { mode: "single", colour: event.target.value })} /></label>` : nothing}
      ${colouring && colouring.mode !== "single" ? this.scaleForm(layer, colouring) : nothing}`;
  }

  scaleForm(layer, colouring) {
    const { mode, field, ramp = "viridis" } = colouring;
    const asMode = (event) => this.set(layer, event.target.value === "category" ? { mode: "category", field } : { mode: "number", field, ramp });
    const option = (value, label, chosen) => html`<option value=${value} ?selected=${chosen === value}>${label}</option>`;
    return html`<label class="field">${text("colour_how")} <select @change=${asMode}>${option("category", text("colour_category"), mode)}${option("number", text("colour_number"), mode)}</select></label>
      ${mode === "number" ? html`<label class="field">${text("colour_ramp")} <select @change=${(event) => this.set(layer, { ...colouring, ramp: event.target.value })}>${Object.keys(RAMPS).map((name) => option(name, text(`ramp_${name}`), ramp))}</select></label>` : nothing}`;
  }

  legend(layer) {
    if (layer.points) return this.city.tools.points.legend(layer);
    const entries = legendOf(layer.colouring);
    if (entries.length === 0) return nothing;
    const title = layer.fields?.titleOf(layer.colouring.field) ?? "";
    return html`<div class="scene-legend"><p class="muted small">${title}</p>
      <ul>${entries.map(({ colour, label }) => html`<li><svg width="14" height="14" aria-hidden="true"><rect width="14" height="14" rx="3" fill=${colour}></rect></svg> ${label}</li>`)}</ul></div>`;
  }
}

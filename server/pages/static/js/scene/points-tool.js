// The reader's hand on a layer of points: colours and their stretch, classes, times, size and density; and its legend.

import { html, nothing } from "lit";
import { OTHER, PALETTE, RAMPS } from "./colours.js";
import { legendOf } from "./colouring.js";
import { colourOfClass } from "./points-classes.js";
import { unixOf } from "./points-layer.js";
import { DENSITIES, SIZES } from "./points-look.js";
import { number, text } from "./texts.js";

const SCALED = ["height", "Intensity", "GpsTime"];
const COUNTED = ["Classification", "ReturnNumber", "NumberOfReturns", "PointSourceId"];
const RAMP_OF = { height: "terrain", Intensity: "grey", GpsTime: "viridis" };
const STEPS = 400; // of a slider
const RETURNS = 5; // in the legend; further ones are rare

const square = (fill) => html`<svg width="14" height="14" aria-hidden="true"><rect width="14" height="14" rx="3" fill=${fill}></rect></svg>`;

/** A GPS time in words: of a calendar, or the seconds of a week that nobody has named. */
function timeWords(points, seconds) {
  return points.dated ? new Date(1000 * unixOf(seconds)).toISOString().slice(0, 19).replace("T", " ") : `${number(seconds, 1)} s`;
}

export class PointsTool {
  constructor(city) {
    this.city = city;
  }

  /** A colouring filled with what the server knows; the chosen one where it lacks nothing. */
  filled(layer, chosen) {
    if (chosen?.mode !== "number" || chosen.low !== undefined) return chosen;
    const range = layer.points.range(chosen.field, true);
    return range && { ...chosen, ...range };
  }

  async choose(layer, field) {
    await layer.points.loadFacts();
    const chosen = SCALED.includes(field) ? { mode: "number", field, ramp: RAMP_OF[field] } : { mode: "category", field };
    const colouring = this.filled(layer, chosen);
    if (!colouring) return this.city.say(text("nothing_to_colour"));
    return this.city.tools.colours.put(layer, colouring);
  }

  /** Change the look; a step of the history when the hand has let go. */
  change(layer, look, done = true) {
    layer.points.set(look);
    if (done) this.city.changed();
    this.city.emit("layers");
  }

  fields(layer) {
    const known = layer.points.attributes ?? {};
    return [...SCALED, ...COUNTED].filter((field) => field === "height" || known[field]);
  }

  form(layer) {
    layer.points.loadFacts();
    const { colouring, points } = layer;
    const chosen = colouring ? (colouring.mode === "single" ? "#" : colouring.field) : "";
    const option = (value, label) => html`<option value=${value} ?selected=${chosen === value}>${label}</option>`;
    const choose = ({ target: { value } }) => (value === "" || value === "#" ? this.city.tools.colours.choose(layer, value) : this.choose(layer, value));
    return html`<label class="field">${text("colour_by")}
        <select name=${`colour-${layer.id}`} @change=${choose}>
          ${option("", text(points.settings.rgb ? "points_photo" : "colour_own"))}${option("#", text("colour_single"))}
          ${this.fields(layer).map((field) => option(field, text(`points_${field}`)))}
        </select></label>
      ${colouring?.mode === "single" ? html`<label class="field">${text("colour")} <input type="color" .value=${colouring.colour} @change=${(event) => this.city.tools.colours.put(layer, { mode: "single", colour: event.target.value })} /></label>` : nothing}
      ${colouring?.mode === "number" ? this.scale(layer, colouring) : nothing}
      ${this.sliders(layer)}${points.attributes?.GpsTime ? this.times(layer) : nothing}${points.attributes?.Classification ? this.classes(layer) : nothing}`;
  }

  /** The ramp of a scale, and where it begins and ends. */
  scale(layer, colouring) {
    const { field, ramp, low, high } = colouring;
    const all = layer.points.range(field) ?? { low, high };
    const [from, to] = [Math.min(all.low, low), Math.max(all.high, high)];
    const words = (value) => (field === "GpsTime" ? timeWords(layer.points, value) : number(value, field === "height" ? 1 : 0));
    const put = (part, done) => ({ target: { value } }) => {
      const changed = { ...colouring, [part]: Number(value) };
      if (changed.low < changed.high) this.city.tools.colours.put(layer, changed, { quiet: !done });
    };
    const slider = (part, value) => html`<label class="slider"><span>${text(`points_${part}`)} <output>${words(value)}</output></span>
      <input type="range" name=${`points-${part}`} min=${from} max=${to} step=${(to - from) / STEPS} .value=${String(value)} aria-valuetext=${words(value)} @input=${put(part, false)} @change=${put(part, true)} /></label>`;
    const option = (name) => html`<option value=${name} ?selected=${ramp === name}>${text(`ramp_${name}`)}</option>`;
    return html`<label class="field">${text("colour_ramp")} <select name="points-ramp" @change=${({ target }) => this.city.tools.colours.put(layer, { ...colouring, ramp: target.value })}>${Object.keys(RAMPS).map(option)}</select></label>
      ${slider("low", low)}${slider("high", high)}`;
  }

  sliders(layer) {
    const { look } = layer.points;
    const power = Math.log2(look.density);
    const edges = look.edges ?? this.city.budget.kind === "desktop";
    const slide = (read, done) => ({ target: { value } }) => this.change(layer, read(Number(value)), done);
    const slider = (name, shown, attributes, read) => html`<label class="slider"><span>${text(`points_${name}`)} <output>${shown}</output></span>
      <input type="range" name=${`points-${name}`} min=${attributes.min} max=${attributes.max} step=${attributes.step} .value=${String(attributes.value)} @input=${slide(read, false)} @change=${slide(read, true)} /></label>`;
    return html`${slider("size", text("points_pixels", { count: number(look.size, 1) }), { min: SIZES.low, max: SIZES.high, step: 0.5, value: look.size }, (size) => ({ size }))}
      ${slider("density", `× ${number(look.density, 2)}`, { min: Math.log2(DENSITIES.low), max: Math.log2(DENSITIES.high), step: 0.5, value: power }, (value) => ({ density: Number((2 ** value).toFixed(3)) }))}
      <label class="check"><input type="checkbox" name="points-edges" .checked=${edges} @change=${({ target }) => this.change(layer, { edges: target.checked })} /> <span>${text("points_edges")}</span></label>`;
  }

  /** The times between which shown points were measured. */
  times(layer) {
    const { points } = layer;
    const all = points.range("GpsTime");
    if (!all || all.high - all.low < 2) return nothing;
    const [from, until] = [points.look.from ?? all.low, points.look.until ?? all.high];
    const put = (part, done) => ({ target: { value } }) => {
      const at = Number(value);
      const open = part === "from" ? at <= all.low : at >= all.high;
      const look = { from: points.look.from, until: points.look.until, [part]: open ? null : at };
      if ((look.from ?? all.low) <= (look.until ?? all.high)) this.change(layer, look, done);
    };
    const slider = (part, value) => html`<label class="slider"><span>${text(`points_${part}`)} <output>${timeWords(points, value)}</output></span>
      <input type="range" name=${`points-${part}`} min=${all.low} max=${all.high} step=${(all.high - all.low) / STEPS} .value=${String(value)} aria-valuetext=${timeWords(points, value)} @input=${put(part, false)} @change=${put(part, true)} /></label>`;
    return html`<details><summary>${text("points_times")}</summary>${slider("from", from)}${slider("until", until)}</details>`;
  }

  /** Classes to be shown, the commonest first, with how many points each has. */
  classes(layer) {
    const { look, facts } = layer.points;
    const known = facts?.classes ?? [];
    if (known.length === 0) return nothing;
    const toggle = (code, on) => this.change(layer, { hidden: on ? look.hidden.filter((one) => one !== code) : [...look.hidden, code] });
    const all = (hidden) => html`<button type="button" class="link-button" @click=${() => this.change(layer, { hidden })}>${text(hidden.length ? "points_none" : "points_all")}</button>`;
    return html`<fieldset class="point-classes"><legend>${text("points_classes")}</legend>
      ${known.map(({ code, name, count }) => html`<label class="check"><input type="checkbox" name=${`class-${code}`} .checked=${!look.hidden.includes(code)} @change=${({ target }) => toggle(code, target.checked)} />
        ${square(colourOfClass(code))} <span>${name} <span class="muted">${code}</span></span> <span class="muted count">${number(count)}</span></label>`)}
      ${all([])} ${all(known.map(({ code }) => code))}</fieldset>`;
  }

  legend(layer) {
    const entries = this.entries(layer);
    if (entries.length === 0) return nothing;
    return html`<div class="scene-legend"><p class="muted small">${text(`points_${layer.colouring.field}`)}</p>
      <ul>${entries.map(({ colour, label, count }) => html`<li>${square(colour)} ${label} ${count === undefined ? nothing : html`<span class="muted count">${number(count)}</span>`}</li>`)}</ul></div>`;
  }

  entries(layer) {
    const { colouring, points } = layer;
    const unfolded = this.city.tools.layers.open === layer; // the list of classes stands there already
    if (!colouring || colouring.mode === "single" || (unfolded && colouring.field === "Classification")) return [];
    if (colouring.mode === "number") {
      const entries = legendOf(colouring);
      if (colouring.field !== "GpsTime") return entries;
      const step = (colouring.high - colouring.low) / (entries.length - 1);
      return entries.map(({ colour }, i) => ({ colour, label: timeWords(points, colouring.low + i * step) }));
    }
    if (colouring.field === "Classification") {
      if (!points.facts) points.loadFacts();
      const shown = (points.facts?.classes ?? []).filter(({ code }) => !points.look.hidden.includes(code));
      return shown.map(({ code, name, count }) => ({ colour: colourOfClass(code), label: name, count }));
    }
    if (colouring.field === "PointSourceId") return [{ colour: PALETTE[0], label: text("points_each_flight") }];
    const numbers = Array.from({ length: RETURNS }, (_, i) => ({ colour: PALETTE[i], label: String(i + 1) }));
    return [...numbers, { colour: OTHER, label: text("other") }];
  }
}

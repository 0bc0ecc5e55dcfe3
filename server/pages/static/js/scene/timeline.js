// The time slider: what stands at an instant. Dates come from the tiles' own attributes; a collection whose tiles have none,
// but whose features have a time, is asked of the server for that instant.

import { html, nothing, render } from "lit";
import { dayOf, reader, secondsOf, timeFields } from "./instants.js";
import { text } from "./texts.js";
import { Variants } from "./variants.js";

const STEPS = 200; // of the slider
const PLAY_MS = 400;
const ASK_MS = 500; // the server is asked when the slider has rested this long

export class Timeline {
  constructor(city) {
    this.city = city;
    this.seconds = null; // the instant shown; null: everything, whenever it stood
    this.fields = new Map(); // layer id -> {begin, end}
    this.range = null;
    this.playing = null;
    this.variants = new Variants(city);
    this.element = document.getElementById("tool-time-body");
    city.on("learned", (layer) => this.learn(layer));
    this.draw();
  }

  get state() {
    return this.seconds === null ? null : dayOf(this.seconds);
  }

  restore(state) {
    this.show(state ? secondsOf(state.slice(0, 10)) ?? secondsOf(state) : null, { quiet: true });
  }

  learn(layer) {
    if (layer.points) return;
    const found = timeFields(layer.fields.all);
    if (found.begin || found.end) this.fields.set(layer.id, found);
    if (this.seconds !== null) this.apply(layer);
    this.draw();
  }

  /** Layers that know of time, one way or the other. */
  get dated() {
    return this.city.layers.filter((layer) => layer.tileset && (this.fields.has(layer.id) || (layer.points ? layer.points.dated : layer.settings.temporal)));
  }

  /** First and last instant of the data, from what is loaded and what the collections say. */
  measure() {
    const found = [];
    for (const layer of this.dated) {
      const fields = this.fields.get(layer.id);
      for (const field of fields ? [fields.begin, fields.end].filter(Boolean) : []) {
        const read = reader(field);
        found.push(...layer.fields.sample(field).map(read).filter((value) => value !== null));
      }
      if (layer.settings.temporal) found.push(...layer.settings.temporal.map((value) => value && secondsOf(value)).filter((value) => typeof value === "number"));
    }
    if (found.length === 0) return null;
    let [low, high] = [Infinity, -Infinity];
    for (const value of found) [low, high] = [Math.min(low, value), Math.max(high, value)];
    return low < high ? { low, high: high + 86_400 } : { low: low - 365 * 86_400, high: high + 86_400 };
  }

  /** Show the city at an instant (seconds since 1970), null for all of it. */
  show(seconds, { quiet = false } = {}) {
    this.seconds = seconds;
    if (seconds !== null && !this.range) this.range = this.measure();
    for (const layer of this.dated) this.apply(layer);
    clearTimeout(this.asking);
    this.asking = setTimeout(() => this.ask(), ASK_MS);
    if (!quiet) this.city.emit("settling");
    this.draw();
  }

  apply(layer) {
    const fields = layer.points ? {} : this.fields.get(layer.id);
    if (!fields) return;
    layer.instant = this.seconds === null ? null : { seconds: this.seconds, ...fields };
    layer.applyLook();
    this.city.scene.requestRender();
  }

  /** Layers without dates in their tiles come from the server as they were. */
  ask() {
    const query = this.seconds === null ? {} : { datetime: `${dayOf(this.seconds)}T00:00:00Z` };
    for (const layer of this.dated) if (!layer.points && !this.fields.has(layer.id)) this.variants.show(layer, query);
  }

  choose(layer, part, id) {
    this.fields.set(layer.id, { ...this.fields.get(layer.id), [part]: id || null });
    this.range = null;
    this.show(this.seconds, {});
  }

  play() {
    if (this.playing !== null) {
      clearInterval(this.playing);
      this.playing = null;
      this.city.changed();
    } else {
      this.range ??= this.measure();
      if (!this.range) return this.city.say(text("time_none"));
      const { low, high } = this.range;
      this.playing = setInterval(() => {
        const next = (this.seconds ?? low) + (high - low) / STEPS;
        this.show(next > high ? low : next);
      }, PLAY_MS);
    }
    this.draw();
    return undefined;
  }

  on() {
    this.range = this.measure();
    if (!this.range) return this.city.say(text("time_none"));
    this.show(this.range.high);
    this.city.changed();
    return undefined;
  }

  off() {
    if (this.playing !== null) this.play();
    this.show(null);
    this.city.changed();
  }

  draw() {
    const { seconds, range } = this;
    const selects = this.city.layers.filter((layer) => layer.tileset && layer.fields?.ids.length).map((layer) => this.fieldSelects(layer));
    const slider = range && seconds !== null
      ? html`<label class="slider"><span>${text("time_instant")} <output>${dayOf(seconds)}</output></span>
          <input type="range" name="instant" min=${range.low} max=${range.high} step="86400" .value=${String(seconds)} aria-valuetext=${dayOf(seconds)}
            @input=${(event) => this.show(Number(event.target.value))} @change=${() => this.city.changed()} /></label>
        <label class="field">${text("time_day")} <input type="date" name="day" .value=${dayOf(seconds)} @change=${(event) => {
          const day = secondsOf(event.target.value);
          if (day === null) return;
          this.show(day);
          this.city.changed();
        }} /></label>`
      : nothing;
    render(
      html`<p class="muted small">${text("time_help")}</p>
        <div class="tool-buttons">
          ${seconds === null ? html`<button type="button" class="button button-small" id="time-on" @click=${() => this.on()}>${text("time_on")}</button>` : html`
            <button type="button" class="button button-small" id="time-play" aria-pressed=${String(this.playing !== null)} @click=${() => this.play()}>${text(this.playing === null ? "play" : "pause")}</button>
            <button type="button" class="button button-small" id="time-off" @click=${() => this.off()}>${text("time_off")}</button>`}
        </div>
        ${slider}
        ${selects.length ? html`<details><summary>${text("time_fields")}</summary>${selects}</details>` : nothing}`,
      this.element,
    );
  }

  fieldSelects(layer) {
    const fields = this.fields.get(layer.id) ?? {};
    const select = (part) => html`<label class="field">${text(`time_${part}`)}
      <select @change=${(event) => this.choose(layer, part, event.target.value)}>
        <option value="" ?selected=${!fields[part]}>${text("none")}</option>
        ${layer.fields.all.map(({ id, title }) => html`<option value=${id} ?selected=${fields[part] === id}>${title}</option>`)}
      </select></label>`;
    return html`<fieldset><legend>${layer.settings.title}</legend>${select("begin")}${select("end")}</fieldset>`;
  }
}

// Two states side by side, with a bar between them: each side has its own instants and its own layers.

import * as Cesium from "cesium";
import { html, nothing, render } from "lit";
import { makeImagery, makeTileset } from "./layers.js";
import { secondsOf } from "./instants.js";
import { SplitBar } from "./split-bar.js";
import { text } from "./texts.js";

const emptySide = () => ({ asof: null, datetime: null, hidden: [] });
const { LEFT, RIGHT, NONE } = Cesium.SplitDirection;

export class Comparison {
  constructor(city) {
    this.city = city;
    this.compared = null; // {position, left, right}, as codec.js writes it
    this.turn = 0;
    this.element = document.getElementById("tool-compare-body");
    this.bar = new SplitBar((position, done) => this.move(position, done));
    this.draw();
  }

  get state() {
    return this.compared;
  }

  async restore(state) {
    if (JSON.stringify(state ?? null) === JSON.stringify(this.compared)) return;
    this.compared = state ?? null;
    await this.apply();
  }

  move(position, done) {
    this.compared.position = position;
    this.city.scene.splitPosition = position;
    this.city.scene.requestRender();
    if (done) this.city.changed();
  }

  on() {
    this.compared = { position: 0.5, left: emptySide(), right: emptySide() };
    return this.apply().then(() => this.city.changed());
  }

  off() {
    this.compared = null;
    return this.apply().then(() => this.city.changed());
  }

  /** Bring every layer to its sides. */
  async apply() {
    this.turn += 1;
    const { scene, layers } = this.city;
    if (this.compared) scene.splitPosition = this.compared.position;
    this.bar.show(this.compared?.position ?? null, this.compared && [this.nameOf("left"), this.nameOf("right")]);
    this.draw();
    await Promise.all(layers.map((layer) => this.place(layer, this.turn)));
    this.city.emit("tileset");
    for (const layer of layers) if (layer.settings.type !== "terrain") layer.apply();
  }

  nameOf(name) {
    const side = this.compared[name];
    return side.asof ? text("compare_asof_at", { instant: side.asof.slice(0, 10) }) : (side.datetime ?? text(`compare_${name}`));
  }

  /** Give a layer to the left, the right, to both as one, or to both with a twin that shows the other state. */
  async place(layer, turn) {
    if (layer.failed || layer.settings.type === "terrain") return;
    this.dropTwin(layer);
    const sides = this.compared && { left: this.compared.left, right: this.compared.right };
    const shown = sides && { left: !sides.left.hidden.includes(layer.id), right: !sides.right.hidden.includes(layer.id) };
    if (!sides) return this.serve(layer, NONE, {}, turn);
    const query = (side) => this.queryOf(layer, side);
    if (shown.left && shown.right && this.same(layer)) return this.serve(layer, NONE, query(sides.left), turn);
    if (!shown.left && !shown.right) layer.hidden = true;
    else if (!shown.right) await this.serve(layer, LEFT, query(sides.left), turn);
    else if (!shown.left) await this.serve(layer, RIGHT, query(sides.right), turn);
    else {
      await this.serve(layer, LEFT, query(sides.left), turn);
      await this.addTwin(layer, query(sides.right), turn);
    }
    return undefined;
  }

  /** The layer's own tileset in the state of a side. */
  async serve(layer, direction, query, turn) {
    layer.hidden = false;
    const { timeline } = this.city.tools;
    const dated = this.instantFor(layer, query);
    if (layer.tileset) {
      await timeline.variants.show(layer, dated ? without(query, "datetime") : query);
      if (turn !== this.turn) return;
      layer.tileset.splitDirection = direction;
      if (dated) layer.instant = dated;
      else this.restoreInstant(layer);
    } else if (layer.imagery) {
      layer.imagery.splitDirection = direction;
    }
  }

  restoreInstant(layer) {
    const { timeline } = this.city.tools;
    const fields = timeline.fields.get(layer.id);
    layer.instant = fields && timeline.seconds !== null ? { seconds: timeline.seconds, ...fields } : null;
  }

  /** Both sides show the layer alike. */
  same(layer) {
    return JSON.stringify(this.queryOf(layer, this.compared.left)) === JSON.stringify(this.queryOf(layer, this.compared.right));
  }

  /** What a side asks of the server for a layer: `asof` where it has a history, `datetime` where it knows of time. */
  queryOf(layer, side) {
    const query = {};
    if (side.asof && layer.settings.history) query.asof = side.asof.length === 10 ? `${side.asof}T00:00:00Z` : side.asof;
    const dated = layer.settings.temporal || this.city.tools.timeline.fields.has(layer.id);
    if (side.datetime && dated) query.datetime = side.datetime.length === 10 ? `${side.datetime}T00:00:00Z` : side.datetime;
    return query;
  }

  /** The instant for the style where the tiles carry dates; then the server need not be asked. */
  instantFor(layer, query) {
    const fields = this.city.tools.timeline.fields.get(layer.id);
    return fields && query.datetime ? { seconds: secondsOf(query.datetime), ...fields } : null;
  }

  async addTwin(layer, query, turn) {
    try {
      const dated = this.instantFor(layer, query);
      if (layer.imagery) {
        layer.twin = { imagery: makeImagery(layer, query) };
        Object.assign(layer.twin.imagery, { splitDirection: RIGHT, show: layer.visible, alpha: layer.opacity });
        return;
      }
      const tileset = await makeTileset(layer, dated ? without(query, "datetime") : query);
      if (turn !== this.turn) {
        this.city.scene.primitives.remove(tileset);
        return;
      }
      tileset.splitDirection = RIGHT;
      layer.twin = { tileset, instant: dated };
      layer.fields.watch(tileset);
    } catch (error) {
      this.city.warn(text("variant_failed", { what: layer.settings.title, why: error.message ?? String(error) }));
    }
  }

  dropTwin(layer) {
    if (layer.twin?.tileset) this.city.scene.primitives.remove(layer.twin.tileset);
    if (layer.twin?.imagery) this.city.scene.imageryLayers.remove(layer.twin.imagery);
    layer.twin = null;
  }

  change(side, values) {
    this.compared = { ...this.compared, [side]: { ...this.compared[side], ...values } };
    return this.apply().then(() => this.city.changed());
  }

  draw() {
    const { compared } = this;
    render(
      html`<p class="muted small">${text("compare_help")}</p>
        <div class="tool-buttons">${compared ? html`<button type="button" class="button button-small" id="compare-off" @click=${() => this.off()}>${text("compare_off")}</button>` : html`<button type="button" class="button button-small" id="compare-on" @click=${() => this.on()}>${text("compare_on")}</button>`}</div>
        ${compared ? ["left", "right"].map((side) => this.sideForm(side)) : nothing}`,
      this.element,
    );
  }

  sideForm(name) {
    const side = this.compared[name];
    const layers = this.city.layers.filter((layer) => !layer.failed && layer.settings.type !== "terrain" && layer.visible);
    const toggle = (id, on) => this.change(name, { hidden: on ? side.hidden.filter((known) => known !== id) : [...side.hidden, id] });
    const day = (key) => html`<label class="field">${text(`compare_${key}`)} <input type="date" name=${`${name}-${key}`} .value=${side[key]?.slice(0, 10) ?? ""} @change=${(event) => this.change(name, { [key]: event.target.value || null })} /></label>`;
    return html`<fieldset><legend>${text(`compare_${name}`)}</legend>
      ${day("datetime")}${day("asof")}
      ${layers.map((layer) => html`<label class="check"><input type="checkbox" name=${`${name}-${layer.id}`} .checked=${!side.hidden.includes(layer.id)} @change=${(event) => toggle(layer.id, event.target.checked)} /> ${layer.settings.title}</label>`)}
    </fieldset>`;
  }
}

function without(query, name) {
  return Object.fromEntries(Object.entries(query).filter(([key]) => key !== name));
}

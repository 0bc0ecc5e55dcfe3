// The tree of layers: groups from the sky to the bedrock; of each layer whether, how clearly and in which colours it is shown.

import * as Cesium from "cesium";
import { html, nothing, render } from "lit";
import { flyToSphere } from "./globe.js";
import { GROUPS } from "./groups.js";
import { text } from "./texts.js";

// The badge says it already.
const titleOf = ({ title, simulated }) => (simulated ? title.replace(/\s*[((](simulated|模拟)[))]$/u, "") : title);

export class LayerPanel {
  constructor(city) {
    this.city = city;
    this.element = document.getElementById("layer-list");
    this.open = null; // the layer whose settings are unfolded
    this.unearthed = []; // layers that are shown for as long as something is cut
    for (const news of ["layers", "learned"]) city.on(news, () => this.draw());
  }

  summary() {
    const failed = this.city.layers.filter((layer) => layer.failed).map((layer) => layer.settings.title);
    const shown = text("ready", { count: this.city.layers.filter((layer) => layer.visible).length });
    return failed.length ? `${shown}. ${text("failed", { what: failed.join(", ") })}` : shown;
  }

  set(id, on) {
    const layer = this.city.layer(id);
    layer.visible = on;
    layer.apply();
    this.city.say(this.summary());
    this.city.changed();
    this.draw();
  }

  setGroup(group, on) {
    for (const layer of this.city.layers.filter((known) => known.group === group && !known.failed)) {
      layer.visible = on;
      layer.apply();
    }
    this.city.changed();
    this.draw();
  }

  /** Volumes of soil and rock hide what is buried in them, so they start hidden; where the city is cut they are what is to be seen. */
  unearth() {
    const { section, box } = this.city.tools;
    const cut = Boolean(section.at || box.box);
    const changed = cut ? this.city.layers.filter((layer) => layer.settings.solid && !layer.visible && !layer.failed) : this.unearthed;
    if (cut && this.unearthed.length) return;
    for (const layer of changed) {
      layer.visible = cut;
      layer.apply();
    }
    this.unearthed = cut ? changed : [];
    this.draw();
  }

  goTo({ settings, tileset }) {
    const sphere = tileset?.boundingSphere ?? Cesium.BoundingSphere.fromRectangle3D(Cesium.Rectangle.fromDegrees(...settings.bounds));
    flyToSphere(this.city.camera, sphere);
  }

  /** Change how clearly a layer shows; `done` when the hand has let go. */
  fade(layer, opacity, done) {
    layer.opacity = opacity;
    layer.apply();
    if (done) this.city.changed();
    this.draw();
  }

  row(layer) {
    const { id, simulated } = layer.settings;
    const title = titleOf(layer.settings);
    const unfolded = this.open === layer;
    const unfold = () => {
      this.open = unfolded ? null : layer;
      this.draw();
    };
    const more = layer.settings.type !== "terrain";
    return html`<div class="layer">
        <label>
          <input type="checkbox" name=${id} .checked=${layer.visible} ?disabled=${layer.failed} @change=${(event) => this.set(id, event.target.checked)} />
          <span>${title}</span>
        </label>
        ${simulated ? html`<span class="badge badge-simulated">${text("simulated")}</span>` : nothing}
        ${layer.failed ? html`<span class="muted">${text("unavailable")}</span>` : html`
          <button type="button" class="link-button" aria-label="${text("zoom")} ${title}" @click=${() => this.goTo(layer)}>${text("zoom")}</button>
          ${more ? html`<button type="button" class="link-button" aria-expanded=${String(unfolded)} aria-label="${text("look")} ${title}" @click=${unfold}>${text("look")}</button>` : nothing}`}
      </div>
      ${unfolded ? this.settings(layer) : nothing}
      ${layer.visible ? this.city.tools.colours.legend(layer) : nothing}`;
  }

  settings(layer) {
    const percent = Math.round(layer.opacity * 100);
    const slide = (done) => (event) => this.fade(layer, Number(event.target.value) / 100, done);
    return html`<div class="layer-settings">
      <label class="slider"><span>${text("opacity")} <output>${percent} %</output></span>
        <input type="range" min="0" max="100" step="5" name=${`opacity-${layer.id}`} .value=${String(percent)} @input=${slide(false)} @change=${slide(true)} /></label>
      ${layer.tileset ? this.city.tools.colours.form(layer) : nothing}
    </div>`;
  }

  draw() {
    const group = (name) => {
      const members = this.city.layers.filter((layer) => layer.group === name);
      if (members.length === 0) return nothing;
      const usable = members.filter((layer) => !layer.failed);
      const shown = usable.filter((layer) => layer.visible).length;
      const all = members.length > 1
        ? html`<input type="checkbox" aria-label=${text("whole_group", { group: text(`group_${name}`) })} .checked=${shown > 0 && shown === usable.length} .indeterminate=${shown > 0 && shown < usable.length} @change=${(event) => this.setGroup(name, event.target.checked)} />`
        : nothing;
      return html`<fieldset class="layer-group"><legend>${all}${text(`group_${name}`)}</legend>${members.map((layer) => this.row(layer))}</fieldset>`;
    };
    render(GROUPS.map(group), this.element);
  }
}

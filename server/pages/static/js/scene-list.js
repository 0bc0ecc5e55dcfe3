// The list of layers with its switches.

import * as Cesium from "cesium";
import { html, render } from "lit";
import { message } from "./page.js";

const GROUPS = ["tileset", "imagery", "terrain"];

export function showLayerList(widget, layers) {
  const element = document.getElementById("layer-list");
  const { scene } = widget;

  const summary = () => {
    const failed = layers.filter((layer) => layer.failed).map((layer) => layer.settings.title);
    const shown = message("scene_ready", { count: layers.filter((layer) => layer.visible).length });
    return failed.length ? `${shown}. ${message("scene_failed", { what: failed.join(", ") })}` : shown;
  };

  const set = (id, on) => {
    const layer = layers.find((known) => known.settings.id === id);
    layer.visible = on;
    layer.show(on);
    scene.requestRender();
    draw();
  };

  const goTo = ({ settings, tileset }) => {
    const sphere = tileset?.boundingSphere ?? Cesium.BoundingSphere.fromRectangle3D(Cesium.Rectangle.fromDegrees(...settings.bounds));
    const pitch = Cesium.Math.toRadians(-40);
    widget.camera.flyToBoundingSphere(sphere, { duration: 1, offset: new Cesium.HeadingPitchRange(0, pitch, sphere.radius * 1.6) });
  };

  const row = (layer) => {
    const { id, title, simulated } = layer.settings;
    return html`<div class="layer">
      <label>
        <input type="checkbox" name=${id} .checked=${layer.visible} ?disabled=${layer.failed} @change=${(event) => set(id, event.target.checked)} />
        ${title}
      </label>
      ${simulated ? html`<span class="badge badge-simulated">${message("simulated")}</span>` : ""}
      ${layer.failed
        ? html`<span class="muted">${message("layer_failed")}</span>`
        : html`<button type="button" class="link-button" aria-label="${message("zoom")} ${title}" @click=${() => goTo(layer)}>${message("zoom")}</button>`}
    </div>`;
  };

  const titles = { tileset: message("layer_tileset"), imagery: message("layer_imagery"), terrain: message("layer_terrain") };
  const draw = () => {
    const group = (type) => {
      const members = layers.filter((layer) => layer.settings.type === type);
      return members.length
        ? html`<fieldset class="layer-group"><legend>${titles[type]}</legend>${members.map(row)}</fieldset>`
        : "";
    };
    render(GROUPS.map(group), element);
  };
  draw();
  // On a phone the city comes first; the list opens with a tap.
  if (matchMedia("(max-width: 40rem)").matches) element.closest("details").open = false;
  return { set, summary };
}

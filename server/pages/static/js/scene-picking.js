// What was clicked: its attributes from the tile's own metadata, and the layer it belongs to.

import * as Cesium from "cesium";
import { html } from "lit";
import { showAttributes } from "./attributes.js";
import { colour, message } from "./page.js";

const panel = document.getElementById("feature-panel");
const status = document.getElementById("scene-status");

/** Display names of the properties of a feature, from the tile's metadata schema; ids where it gives none. */
function namesOf(feature) {
  const classes = feature.tileset?.schema?.classes ?? feature.content?.metadata?.class ?? {};
  const tables = feature.content?._model?.structuralMetadata?.propertyTables ?? [];
  const names = new Map();
  const note = (properties) => {
    for (const [id, property] of Object.entries(properties ?? {})) if (property.name) names.set(id, property.name);
  };
  Object.values(classes).forEach((known) => note(known?.properties));
  tables.forEach((table) => note(table.class?.properties));
  return names;
}

/** Attributes of a picked feature by display name. */
export function attributesOf(feature) {
  const names = namesOf(feature);
  return Object.fromEntries(feature.getPropertyIds().map((id) => [names.get(id) ?? id, feature.getProperty(id)]));
}

export function addPicking(widget, layers) {
  const { scene } = widget;
  let selected = null;
  let before = null;

  const clear = () => {
    if (selected && before) selected.color = before;
    selected = before = null;
    panel.hidden = true;
    scene.requestRender();
  };

  const highlight = (feature) => {
    selected = feature;
    before = Cesium.Color.clone(feature.color);
    feature.color = Cesium.Color.fromCssColorString(colour("map-select"));
  };

  /** Pick at window coordinates; shows the panel and returns {layer, properties}, or null. */
  const pick = (x, y) => {
    clear();
    const hit = scene.pick(new Cesium.Cartesian2(x, y));
    const tileset = hit?.tileset ?? hit?.primitive;
    const layer = layers.find((known) => known.tileset && known.tileset === tileset);
    if (!layer) return null;
    const properties = hit instanceof Cesium.Cesium3DTileFeature ? attributesOf(hit) : {};
    if (hit instanceof Cesium.Cesium3DTileFeature) highlight(hit);
    showPanel(layer.settings, properties, clear);
    return { layer: layer.settings.id, properties };
  };

  const pickCentre = () => {
    const { clientWidth, clientHeight } = scene.canvas;
    if (!pick(clientWidth / 2, clientHeight / 2)) status.textContent = message("nothing_here");
  };

  const handler = new Cesium.ScreenSpaceEventHandler(scene.canvas);
  handler.setInputAction(({ position }) => pick(position.x, position.y), Cesium.ScreenSpaceEventType.LEFT_CLICK);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !panel.hidden) clear();
  });
  return { pick, pickCentre, clear };
}

function showPanel(settings, properties, close) {
  panel.hidden = false;
  showAttributes(panel, properties, {
    heading: html`<button type="button" class="button button-small close" @click=${close}>${message("close")}</button>
      <h2>${settings.title}</h2>
      ${settings.simulated ? html`<p><span class="badge badge-simulated">${message("simulated")}</span></p>` : ""}`,
    after: html`<p><a href=${settings.href}>${message("details")}</a></p>`,
  });
}

// The chosen objects shine, also in tiles that come later and after the layer has got another look.

import * as Cesium from "cesium";
import { matches } from "./fields.js";

const SHINE = "#19e6ff"; // no ground, roof, tree or pipe has this colour

export class Highlights {
  constructor(city) {
    this.city = city;
    this.wanted = null; // {layer, field, value}
    this.features = new Map(); // feature -> its colour before
    city.on("loaded", (layer, content) => {
      if (this.wanted?.layer === layer) city.afterFrames(3, () => this.wanted?.layer === layer && this.mark(matches(content, this.wanted.field, this.wanted.value)));
    });
    city.on("styled", (layer) => {
      if (this.wanted?.layer === layer) city.afterFrames(3, () => this.refresh());
    });
  }

  /** Show one picked feature, and all parts of the same object where it has an id. */
  show(layer, feature) {
    this.clear();
    const id = feature.getProperty("id");
    if (id !== undefined && id !== null) this.showId(layer, id);
    else this.mark([feature]);
  }

  showId(layer, value, field = "id") {
    this.clear();
    this.wanted = { layer, field, value };
    this.mark(layer.fields.find(field, value));
  }

  mark(features) {
    const shine = Cesium.Color.fromCssColorString(SHINE);
    for (const feature of features) {
      if (!this.features.has(feature)) this.features.set(feature, Cesium.Color.clone(feature.color));
      feature.color = shine;
    }
    this.city.scene.requestRender();
  }

  refresh() {
    const { wanted } = this;
    if (!wanted) return;
    this.features.clear(); // a new style has given them their colours again
    this.mark(wanted.layer.fields.find(wanted.field, wanted.value));
  }

  clear() {
    for (const [feature, before] of this.features) if (!feature.content?.isDestroyed?.()) feature.color = before;
    this.features.clear();
    this.wanted = null;
    this.city.scene.requestRender();
  }
}

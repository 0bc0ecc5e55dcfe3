// Another state of a layer from the server, in place of the one shown: at an instant of its data (datetime) or of its history (asof).

import { makeTileset } from "./layers.js";
import { Fields } from "./fields.js";
import { text } from "./texts.js";

export class Variants {
  constructor(city) {
    this.city = city;
    this.shown = new Map(); // layer -> the query it shows
  }

  /** Show the layer as `query` ({datetime} or {asof}, {} for as it is) asks; the old one stays until the new one has come. */
  async show(layer, query) {
    const wanted = JSON.stringify(query);
    if ((this.shown.get(layer) ?? "{}") === wanted) return;
    this.shown.set(layer, wanted);
    try {
      const tileset = await makeTileset(layer, query);
      if (this.shown.get(layer) !== wanted) {
        this.city.scene.primitives.remove(tileset);
        return;
      }
      const before = layer.tileset;
      tileset.splitDirection = before.splitDirection;
      layer.tileset = tileset;
      layer.fields = new Fields(layer);
      this.city.scene.primitives.remove(before);
      this.city.emit("tileset", layer, tileset);
      layer.apply();
    } catch (error) {
      this.shown.delete(layer);
      this.city.warn(text("variant_failed", { what: layer.settings.title, why: error.message ?? String(error) }));
    }
  }
}

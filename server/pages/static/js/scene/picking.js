// What was clicked: its attributes with titles, a link to its page, and what else lies above and below it.

import * as Cesium from "cesium";
import { middleOf, placeOf, pointAt } from "./globe.js";
import { FeaturePanel } from "./feature-panel.js";
import { askPoint } from "./points-picking.js";
import { verticalProfile } from "./profile.js";
import { text } from "./texts.js";

const DEEPEST = 8; // objects listed over one point
const WIDE = 5; // pixels around the pointer that count for the list

export class Picking {
  constructor(city) {
    this.city = city;
    this.panel = new FeaturePanel({
      close: () => this.clear(),
      choose: (hit) => this.choose(hit),
      profile: city.settings.profile ? (place) => verticalProfile(city.settings.profile, place) : null,
    });
    const handler = new Cesium.ScreenSpaceEventHandler(city.scene.canvas);
    handler.setInputAction(({ position }) => {
      if (!city.busy) this.pick(position.x, position.y);
    }, Cesium.ScreenSpaceEventType.LEFT_CLICK);
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.panel.open && !city.busy) this.clear();
    });
  }

  clear() {
    this.city.tools.highlights.clear();
    this.panel.hide();
  }

  /** {layer, feature, properties, titled, id} of what a pick of Cesium hit; null for things that are no layer's. */
  describe(hit) {
    const layer = hit && this.city.layerOf(hit.tileset ?? hit.primitive);
    if (!layer) return null;
    // A tile of points has no table to look a single point up in: the server is asked (askPoint).
    if (!(hit instanceof Cesium.Cesium3DTileFeature)) return { layer, feature: null, titled: {}, id: null };
    const { fields } = layer;
    const ids = fields.ids.length ? fields.ids : hit.getPropertyIds();
    const shown = ids.filter((id) => !id.endsWith("_epoch"));
    const titled = Object.fromEntries(shown.map((id) => [fields.titleOf(id), hit.getProperty(id)]));
    return { layer, feature: hit, titled, id: hit.getProperty("id") ?? null };
  }

  /** Pick at window coordinates; shows the panel and returns {layer, properties}, or null. */
  pick(x, y) {
    this.clear();
    const { scene } = this.city;
    const position = new Cesium.Cartesian2(x, y);
    const found = this.describe(scene.pick(position));
    if (!found) return this.pickGround(position);
    found.place = this.placeAt(position);
    this.choose(found);
    setTimeout(() => this.listOthers(found, position), 0);
    this.asked = found.layer.points ? this.tellPoint(found) : null;
    return { layer: found.layer.id, id: found.id, properties: found.titled };
  }

  /** Add what the server knows of a picked point. */
  async tellPoint(found) {
    if (!found.place) return;
    Object.assign(found, await askPoint(found.layer, found.place));
    if (this.panel.shown === found) this.panel.show(found);
  }

  placeAt(position) {
    const point = pointAt(this.city.scene, position);
    return point && placeOf(point);
  }

  /** Where nothing stands, the ground still has something below it, if a service tells. */
  pickGround(position) {
    const place = this.city.settings.profile ? this.placeAt(position) : null;
    if (place) this.panel.show({ layer: null, titled: {}, id: null, place }, []);
    return null;
  }

  /** All objects over one another at window coordinates, the nearest first. */
  pickAll(x, y) {
    const hits = this.city.scene.drillPick(new Cesium.Cartesian2(x, y), DEEPEST, WIDE, WIDE);
    const seen = new Set();
    return hits.map((hit) => this.describe(hit)).filter((found) => {
      const name = found && `${found.layer.id} ${found.id ?? hits.length}`;
      return found && !seen.has(name) && seen.add(name);
    });
  }

  listOthers(chosen, position) {
    if (!this.panel.open || this.panel.shown !== chosen) return;
    const all = this.pickAll(position.x, position.y);
    for (const found of all) found.place = chosen.place;
    if (all.length > 1) this.panel.show(chosen, all);
  }

  async choose(found) {
    const { highlights } = this.city.tools;
    highlights.clear();
    if (found.feature) highlights.show(found.layer, found.feature);
    this.panel.show(found);
    const { fields } = found.layer;
    if (fields && fields.schema === null && found.feature) {
      await fields.loadSchema();
      if (this.panel.shown === found) this.panel.show(Object.assign(found, this.describe(found.feature), { place: found.place }));
    }
  }

  pickCentre() {
    const { x, y } = middleOf(this.city.scene);
    if (!this.pick(x, y) && !this.panel.open) this.city.say(text("nothing_here"));
  }
}

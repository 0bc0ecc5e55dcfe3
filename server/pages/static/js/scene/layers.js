// The layers of the scene; one that fails leaves the others standing, and says so in the list.

import * as Cesium from "cesium";
import { Fields } from "./fields.js";
import { styleOf } from "./look.js";
import { PointLayer } from "./points-layer.js";
import { shaderOf } from "./shaders.js";

export const absolute = (address) => new URL(address, location.origin).href.replaceAll("%7B", "{").replaceAll("%7D", "}");

/** One line of the list: what it is, whether and how it is shown, and what draws it. */
export class Layer {
  constructor(settings, city) {
    this.settings = settings;
    this.city = city;
    this.visible = settings.visible;
    this.opacity = 1;
    this.failed = false;
    this.twin = null; // the other state of it, on the right of a comparison
    this.points = settings.points ? new PointLayer(this) : null;
    // null: the colours of the tiles themselves
    this.colouring = settings.points && !settings.points.rgb ? { mode: "category", field: "Classification" } : null;
    this.pale = undefined; // a part of 1 while the scene looks under the ground
    this.hidden = false; // taken away by a tool, whatever the reader chose
    this.instant = null; // {seconds, begin, end}
  }

  get id() {
    return this.settings.id;
  }

  get group() {
    return this.settings.group;
  }

  /** Every tileset that draws it. */
  get tilesets() {
    return [this.tileset, this.twin?.tileset].filter(Boolean);
  }

  /** Make what draws it. `query` asks for another state of the data (asof, datetime). */
  async load() {
    await MAKERS[this.settings.type](this);
    this.apply();
  }

  /** Bring everything to what the fields of this object say. */
  apply() {
    const shown = this.visible && !this.hidden && !this.failed;
    if (this.settings.type === "terrain") this.showTerrain?.(shown);
    if (this.imagery) Object.assign(this.imagery, { show: shown, alpha: this.opacity });
    for (const tileset of this.tilesets) tileset.show = shown;
    if (this.tileset) this.applyLook();
    this.city.scene.requestRender();
  }

  applyLook() {
    const { opacity, colouring, pale } = this;
    const dress = (tileset, instant) => {
      if (this.points) return this.points.dress(tileset);
      const { style, replaces } = styleOf({ opacity, colouring, pale, instant });
      tileset.colorBlendMode = replaces ? Cesium.Cesium3DTileColorBlendMode.REPLACE : Cesium.Cesium3DTileColorBlendMode.HIGHLIGHT;
      if (style !== undefined || tileset.style !== undefined) tileset.style = style;
      return undefined;
    };
    dress(this.tileset, this.instant);
    if (this.twin?.tileset) dress(this.twin.tileset, this.twin.instant ?? this.instant);
    this.city.emit("styled", this);
  }
}

/** A tileset of a layer, with the budget of the device; `query` is added to its address. */
export async function makeTileset(layer, query = {}) {
  const { budget, scene } = layer.city;
  const { points } = layer;
  const address = new URL(absolute(layer.settings.url));
  for (const [name, value] of Object.entries(query)) address.searchParams.set(name, value);
  const tileset = await Cesium.Cesium3DTileset.fromUrl(address.href, {
    maximumScreenSpaceError: points ? budget.points : budget.error,
    dynamicScreenSpaceError: true,
    foveatedScreenSpaceError: true,
    cacheBytes: budget.cache * 2 ** 20,
    maximumCacheOverflowBytes: budget.overflow * 2 ** 20,
    skipLevelOfDetail: false,
    shadows: points ? Cesium.ShadowMode.DISABLED : Cesium.ShadowMode.ENABLED,
  });
  if (points) tileset.pointCloudShading = new Cesium.PointCloudShading({ attenuation: true, eyeDomeLighting: false });
  points?.watch(tileset);
  const shader = shaderOf(layer, layer.city.tools.underground?.on ?? false);
  if (shader) tileset.customShader = shader;
  tileset.tileFailed.addEventListener(({ url, message }) => console.warn(`tile ${url}: ${message}`));
  return scene.primitives.add(tileset);
}

async function addTileset(layer) {
  layer.tileset = await makeTileset(layer);
  layer.fields = new Fields(layer);
}

/** The imagery of a layer; `query` is added to its address. */
export function makeImagery(layer, query = {}) {
  const more = new URLSearchParams(query).toString();
  const provider = new Cesium.UrlTemplateImageryProvider({
    url: absolute(layer.settings.url) + (more && `&${more}`),
    rectangle: Cesium.Rectangle.fromDegrees(...layer.settings.bounds),
    maximumLevel: 20,
    hasAlphaChannel: true,
    enablePickFeatures: false,
  });
  return layer.city.scene.imageryLayers.addImageryProvider(provider);
}

async function addImagery(layer) {
  layer.imagery = makeImagery(layer);
}

async function addTerrain(layer) {
  const provider = await Cesium.CesiumTerrainProvider.fromUrl(absolute(layer.settings.url), { requestVertexNormals: true });
  const flat = new Cesium.EllipsoidTerrainProvider();
  const { scene } = layer.city;
  layer.showTerrain = (on) => {
    const wanted = on ? provider : flat;
    if (scene.terrainProvider !== wanted) scene.terrainProvider = wanted;
  };
}

const MAKERS = { tileset: addTileset, imagery: addImagery, terrain: addTerrain };

/** All layers of `list`, loaded side by side. */
export async function loadLayers(list, city) {
  const layers = list.map((settings) => new Layer(settings, city));
  await Promise.all(
    layers.map(async (layer) => {
      try {
        await layer.load();
      } catch (error) {
        layer.failed = true;
        layer.visible = false;
        console.warn(`layer ${layer.id}: ${error.message ?? error}`);
      }
    }),
  );
  return layers;
}

// What a layer of points has beside the others: its look, the attributes of its tiles, what the server says of all its points.

import * as Cesium from "cesium";
import { getJSON } from "../page.js";
import { spread } from "./colours.js";
import { PLAIN } from "./points-look.js";
import { PointShader, attributesOf } from "./points-shader.js";

const DEVIATIONS = 2; // of the mean: where scales begin and end
const GPS_EPOCH = 315_964_800; // 1980-01-06 as seconds since 1970
const ADJUSTED = 1_000_000_000; // LAS: adjusted standard GPS time counts from here
const LEAP_SECONDS = 18; // between GPS time and UTC since 2017
const FOOT = 0.3048; // metres
const BEHIND = 1; // seconds of GPS time that the last point may be after what a slider can say

/** Seconds since 1970 (UTC) of adjusted standard GPS seconds; of earlier decades up to 18 s too early, which no slider shows. */
export const unixOf = (gps) => gps + ADJUSTED + GPS_EPOCH - LEAP_SECONDS;
export const gpsOf = (unix) => unix - ADJUSTED - GPS_EPOCH + LEAP_SECONDS;

export class PointLayer {
  constructor(layer) {
    this.layer = layer;
    this.settings = layer.settings.points;
    this.look = PLAIN;
    this.attributes = null; // unknown until the first tile has come
    this.facts = null; // what the server says; null until asked, {} where it says nothing
    this.shader = null;
    this.heightOffset = 0; // metres from the cloud's own heights to those above the ellipsoid
  }

  /** Learn from the first tile what its points carry. */
  watch(tileset) {
    this.heightOffset = Number(tileset.asset?.extras?.heightOffset ?? 0);
    const stop = tileset.tileLoad.addEventListener(({ content }) => {
      if (!content || this.attributes) return;
      const found = attributesOf(content);
      if (Object.keys(found).length === 0) return;
      stop();
      const base = Number(tileset.metadata?.getProperty?.("gpsTimeBase") ?? 0);
      if (found.GpsTime && found.GpsTime.offset === 0) found.GpsTime.offset = base;
      this.attributes = found;
      this.layer.applyLook();
      this.layer.city.emit("layers");
    });
  }

  /** Whether times are times of a calendar, as files with the bit for standard GPS time have them. */
  get dated() {
    return this.settings.time === "standard" && Boolean(this.attributes?.GpsTime);
  }

  /** Ask the server, once, for the classes and the ranges of all points. */
  async loadFacts() {
    if (this.facts) return;
    this.facts = { classes: [], dimensions: {} };
    if (!this.settings.statistics) return;
    try {
      const found = await getJSON(this.settings.statistics);
      const classes = [...(found.classes ?? [])].sort((a, b) => b.count - a.count);
      this.facts = { count: found.count, classes, dimensions: found.dimensions ?? {} };
    } catch (error) {
      console.warn(`statistics of ${this.layer.id}: ${error.message}`);
    }
    this.layer.city.emit("layers");
  }

  /** {low, high} of a field in the numbers of the shader: all values, or with `usual` those around the mean; null where unknown. */
  range(field, usual = false) {
    const found = this.facts?.dimensions[field === "height" ? "Z" : field];
    if (!found) return field === "height" ? this.heights() : null;
    const { minimum, maximum, mean, deviation } = found;
    const low = usual ? Math.max(minimum, mean - DEVIATIONS * deviation) : minimum;
    const high = usual ? Math.min(maximum, mean + DEVIATIONS * deviation) : maximum;
    const ends = field === "height" ? [low, high].map((value) => this.ellipsoidal(value, found)) : [low, high];
    return spread(ends);
  }

  /** Heights above the ellipsoid of the box that the collection says. */
  heights() {
    const { bottom, top } = this.settings;
    return Number.isFinite(bottom) && top > bottom ? { low: bottom, high: top } : null;
  }

  /** A height of the cloud's own reference, in its unit, as the scene counts heights. `all`: the range of Z. */
  ellipsoidal(z, all) {
    const box = this.heights();
    // Both boxes are of the same points; the curve of the earth makes one a little taller, never three times.
    const feet = box && (box.high - box.low) / (all.maximum - all.minimum) < (1 + FOOT) / 2;
    return z * (feet ? FOOT : 1) + this.heightOffset;
  }

  /** The last GPS time shown: the reader's, or that of the time slider where it is earlier. */
  until() {
    const { instant } = this.layer;
    const moment = instant && this.dated ? gpsOf(instant.seconds) : null;
    const { until } = this.look;
    if (moment === null) return until === null ? null : until + BEHIND;
    return until === null ? moment : Math.min(moment, until + BEHIND);
  }

  /** Dress one of the layer's tilesets. */
  dress(tileset) {
    const { layer, look } = this;
    const { budget, scene } = layer.city;
    const alpha = layer.opacity * (layer.pale ?? 1);
    tileset.maximumScreenSpaceError = budget.points / look.density;
    const shading = tileset.pointCloudShading;
    shading.maximumAttenuation = look.size;
    shading.geometricErrorScale = look.size / PLAIN.size;
    shading.eyeDomeLighting = (look.edges ?? budget.kind === "desktop") && Cesium.PointCloudShading.isSupported(scene);
    if (!this.attributes) return;
    if (this.shader?.isOpaque !== (alpha === 1)) this.shader = new PointShader(this.attributes, alpha === 1);
    this.shader.set(layer.colouring, { ...look, until: this.until() }, alpha);
    this.shader.dress(tileset);
    // A texture of the shader reaches the card with the next frame.
    layer.city.afterFrames(3, () => {});
  }

  set(look) {
    this.look = { ...this.look, ...look };
    this.layer.applyLook();
    this.layer.city.scene.requestRender();
  }
}

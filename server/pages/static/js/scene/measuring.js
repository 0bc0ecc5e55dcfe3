// Measuring on the ground, on roofs and walls, and below: a place, a distance, an area, a difference of heights.

import * as Cesium from "cesium";
import { html, nothing, render } from "lit";
import { colour } from "../page.js";
import { chinaZone, gaussKruger, ringAreas } from "./geodesy.js";
import { placeOf } from "./globe.js";
import { area, degrees, length, number, text } from "./texts.js";

const KINDS = { point: "point", distance: "line", area: "polygon", height: "line" };

/** [[label, value]] of a place: degrees, the CGCS2000 zone where there is one, height. */
export function placeRows(position) {
  const { lon, lat, height } = placeOf(position);
  const rows = [[text("longitude"), degrees(lon)], [text("latitude"), degrees(lat)], [text("ellipsoid_height"), `${number(height, 2)} m`]];
  const zone = chinaZone(lon, lat);
  if (zone) {
    const { east, north } = gaussKruger(lon, lat, zone.meridian);
    rows.push([text("cgcs_zone", { meridian: zone.meridian, epsg: zone.epsg }), `E ${east.toFixed(2)}  N ${north.toFixed(2)}`]);
  }
  return rows;
}

/** Lengths (m) along a line: `straight` through the air, `horizontal` on the ellipsoid, `vertical` from the first point to the last. */
export function lineLengths(points) {
  const places = points.map((p) => Cesium.Cartographic.fromCartesian(p));
  let [straight, horizontal] = [0, 0];
  for (let i = 1; i < points.length; i += 1) {
    straight += Cesium.Cartesian3.distance(points[i - 1], points[i]);
    horizontal += new Cesium.EllipsoidGeodesic(places[i - 1], places[i]).surfaceDistance;
  }
  return { straight, horizontal, vertical: places.at(-1).height - places[0].height };
}

/** Areas (m²) of a ring of positions: `horizontal` as on a map, `inPlane` of the surface itself. */
export function areasOf(points) {
  const frame = Cesium.Transforms.eastNorthUpToFixedFrame(points[0]);
  const inverse = Cesium.Matrix4.inverseTransformation(frame, new Cesium.Matrix4());
  return ringAreas(points.map((p) => {
    const local = Cesium.Matrix4.multiplyByPoint(inverse, p, new Cesium.Cartesian3());
    return [local.x, local.y, local.z];
  }));
}

function rowsOf(kind, points) {
  if (kind === "point") return points.length ? placeRows(points[0]) : [];
  if (kind === "area") {
    if (points.length < 3) return [];
    const { horizontal, inPlane } = areasOf(points);
    return [[text("area_horizontal"), area(horizontal)], [text("area_surface"), area(inPlane)]];
  }
  if (points.length < 2) return [];
  const { straight, horizontal, vertical } = lineLengths(points);
  const rise = [text("vertical"), `${vertical >= 0 ? "+" : "−"}${length(Math.abs(vertical))}`];
  return kind === "height" ? [rise, [text("horizontal"), length(horizontal)]] : [[text("straight"), length(straight)], [text("horizontal"), length(horizontal)], rise];
}

export class Measuring {
  constructor(city) {
    this.city = city;
    this.kind = null;
    this.rows = [];
    this.marks = [];
    this.element = document.getElementById("tool-measure-body");
    this.draw();
  }

  async measure(kind) {
    this.clear();
    this.kind = kind;
    this.draw();
    const changed = (points) => {
      this.rows = rowsOf(kind, points);
      this.draw();
    };
    const points = await this.city.tools.drawing.start({ kind: KINDS[kind], most: kind === "height" ? 2 : undefined, changed });
    if (!points) return;
    this.finish(kind, points);
  }

  /** Show the figures of a finished measurement and leave its line on the scene. */
  finish(kind, points) {
    this.rows = rowsOf(kind, points);
    const tint = Cesium.Color.fromCssColorString(colour("map-select"));
    const { entities } = this.city.widget;
    const mark = (more) => this.marks.push(entities.add(more));
    if (points.length > 1) {
      const line = kind === "area" ? [...points, points[0]] : points;
      mark({ polyline: { positions: line, width: 3, arcType: Cesium.ArcType.NONE, material: tint, depthFailMaterial: tint.withAlpha(0.45) } });
    }
    for (const position of points) mark({ position, point: { pixelSize: 8, color: tint, outlineColor: Cesium.Color.WHITE, outlineWidth: 2, disableDepthTestDistance: Number.POSITIVE_INFINITY } });
    this.city.say(this.rows.map(([label, value]) => `${label}: ${value}`).join("; "));
    this.draw();
    this.city.scene.requestRender();
  }

  clear() {
    for (const mark of this.marks) this.city.widget.entities.remove(mark);
    this.marks = [];
    this.rows = [];
    this.kind = null;
    this.city.scene.requestRender();
  }

  draw() {
    const button = (kind) => html`<button type="button" class="button button-small" id=${`measure-${kind}`} aria-pressed=${String(this.kind === kind)} @click=${() => this.measure(kind)}>${text(`measure_${kind}`)}</button>`;
    const wipe = () => {
      this.city.tools.drawing.cancel();
      this.clear();
      this.draw();
    };
    render(
      html`<div class="tool-buttons">${Object.keys(KINDS).map(button)}</div>
        <p class="muted small">${text("measure_help")}</p>
        ${this.rows.length ? html`<table class="facts" id="measure-result"><tbody>${this.rows.map(([label, value]) => html`<tr><th scope="row">${label}</th><td>${value}</td></tr>`)}</tbody></table>` : nothing}
        ${this.kind ? html`<button type="button" class="button button-small" id="measure-clear" @click=${wipe}>${text("remove")}</button>` : nothing}`,
      this.element,
    );
  }
}

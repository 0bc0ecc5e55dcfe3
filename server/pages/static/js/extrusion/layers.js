// Layers of the light view: areas with a height are raised, everything else lies flat; all can be hidden and filtered by time.

import { colour } from "../page.js";
import { timeFields } from "../scene/instants.js";

const STOREY = 3.2; // metres, where only storeys are known
const UNKNOWN = 6; // metres, where an object says nothing of its height
const FLAT = { underground: "#c96a12" };

const absolute = (template) => new URL(template, location.origin).href.replaceAll("%7B", "{").replaceAll("%7D", "}");

/** An expression of MapLibre for the number in a field, `other` where there is none. */
const numberOf = (field, other) => ["to-number", ["get", field], other];

/** The height (m) of a footprint by {height, levels}: its height, else its storeys, else a usual one. */
export function heightExpression({ height, levels }) {
  const byLevels = levels ? ["*", STOREY, numberOf(levels, UNKNOWN / STOREY)] : UNKNOWN;
  return height ? ["case", ["has", height], numberOf(height, UNKNOWN), byLevels] : byLevels;
}

/** A filter for what stands at a year: dates of every form begin with it. Null instant: everything. */
export function standsFilter({ begin, end }, year) {
  if (year === null || (!begin && !end)) return null;
  const yearOf = (field, other) => ["to-number", ["slice", ["to-string", ["coalesce", ["get", field], ""]], 0, 4], other];
  const conditions = [];
  // A text that is no number falls back to `other`: what does not say when stands always. An empty text counts as year 0.
  if (begin) conditions.push(["<=", yearOf(begin, 0), year]);
  if (end) conditions.push(["any", ["!", ["has", end]], ["==", yearOf(end, 0), 0], [">", yearOf(end, 9999), year]]);
  return ["all", ...conditions];
}

export class RaisedLayers {
  constructor(map, list) {
    this.map = map;
    this.all = list.map((settings) => ({ settings, visible: settings.visible, opacity: 1, fields: timeFields(settings.dates.map((id) => ({ id, title: id }))) }));
    this.year = null;
    for (const layer of this.all) this.add(layer);
  }

  add(layer) {
    const { settings } = layer;
    const { id, minZoom, maxZoom, bounds } = settings;
    const picture = settings.geometry === "raster";
    const source = picture ? { type: "raster", tileSize: 256 } : { type: "vector" };
    this.map.addSource(id, { ...source, tiles: [absolute(settings.tiles)], minzoom: minZoom, maxzoom: maxZoom, bounds });
    this.map.addLayer({ id, source: id, ...(picture ? {} : { "source-layer": settings.sourceLayer }), layout: { visibility: layer.visible ? "visible" : "none" }, ...this.drawing(settings) });
  }

  drawing({ geometry, height, group }) {
    const tint = FLAT[group] ?? colour("map-data");
    if (height) {
      const raised = heightExpression(height);
      const base = height.base ? numberOf(height.base, 0) : 0;
      const shade = ["interpolate", ["linear"], raised, 0, "#cfd6d4", 30, "#9fb4b5", 90, "#5f8a90"];
      return { type: "fill-extrusion", paint: { "fill-extrusion-height": raised, "fill-extrusion-base": base, "fill-extrusion-opacity": 0.95, "fill-extrusion-vertical-gradient": true, "fill-extrusion-color": shade } };
    }
    if (geometry === "raster") return { type: "raster", paint: {} };
    if (geometry === "line") return { type: "line", paint: { "line-color": tint, "line-width": ["interpolate", ["linear"], ["zoom"], 12, 0.8, 18, 5] } };
    if (geometry === "point") return { type: "circle", paint: { "circle-color": tint, "circle-radius": ["interpolate", ["linear"], ["zoom"], 12, 2, 18, 6] } };
    return { type: "fill", paint: { "fill-color": tint, "fill-opacity": 0.5 } };
  }

  find(id) {
    return this.all.find((layer) => layer.settings.id === id);
  }

  set(id, visible, opacity = this.find(id).opacity) {
    const layer = this.find(id);
    Object.assign(layer, { visible, opacity });
    this.map.setLayoutProperty(id, "visibility", visible ? "visible" : "none");
    const { type } = this.map.getLayer(id);
    this.map.setPaintProperty(id, `${type}-opacity`, opacity * (type === "fill" ? 0.5 : 0.95));
  }

  get dated() {
    return this.all.filter(({ fields }) => fields.begin || fields.end);
  }

  /** Show what stands in a year; null for everything. */
  show(year) {
    this.year = year;
    for (const layer of this.dated) this.map.setFilter(layer.settings.id, standsFilter(layer.fields, year));
  }
}

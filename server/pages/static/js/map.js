// The map of a page: MapLibre with the world underneath, layers of the place as a backdrop, and the page's own data.

import * as maplibre from "maplibre-gl";
import { colour, mapTexts, message, settings } from "./page.js";
import { addWorldProtocol, worldSource } from "./world.js";

addWorldProtocol(maplibre, settings.worldTextures);

const GEOMETRY = {
  polygon: ["==", ["geometry-type"], "Polygon"],
  line: ["==", ["geometry-type"], "LineString"],
  point: ["==", ["geometry-type"], "Point"],
};
const BACKDROP_FROM = 9; // from the whole city inwards
export const EMPTY = { type: "FeatureCollection", features: [] };

function baseStyle() {
  return {
    version: 8,
    sources: { world: worldSource },
    layers: [
      { id: "ground", type: "background", paint: { "background-color": colour("map-ground") } },
      {
        id: "world",
        type: "raster",
        source: "world",
        paint: { "raster-opacity": ["interpolate", ["linear"], ["zoom"], 5, 0.9, 8, 0], "raster-fade-duration": 0 },
      },
    ],
  };
}

/** Make the map in #map, looking at `bounds` (west, south, east, north). Null, with a message shown, without WebGL. */
export function makeMap(bounds, { padding = 28, ...options } = {}) {
  const container = document.getElementById("map");
  try {
    const map = new maplibre.Map({
      container,
      style: baseStyle(),
      bounds: bounds ? padded(bounds) : undefined,
      fitBoundsOptions: { padding, maxZoom: 17 },
      attributionControl: false,
      cooperativeGestures: true,
      locale: mapTexts(),
      maxZoom: 21,
      ...options,
    });
    map.addControl(new maplibre.NavigationControl({ showCompass: false }), "top-right");
    map.addControl(new maplibre.ScaleControl(), "bottom-left");
    map.getCanvas().setAttribute("aria-label", container.getAttribute("aria-label"));
    window.chengtuMap = map;
    return map;
  } catch (error) {
    const text = document.createElement("p");
    text.className = "map-message";
    text.textContent = message("map_failed");
    container.replaceChildren(text);
    console.warn(error);
    return null;
  }
}

/** A box that is never a point, so that the camera has something to fit. */
export function padded([west, south, east, north]) {
  const margin = 0.0005;
  return east - west < margin && north - south < margin
    ? [west - margin, south - margin, east + margin, north + margin]
    : [west, south, east, north];
}

function vectorSource(layer) {
  return {
    type: "vector",
    tiles: [new URL(layer.tiles, location.origin).href.replaceAll("%7B", "{").replaceAll("%7D", "}")],
    minzoom: layer.minZoom,
    maxzoom: layer.maxZoom,
    bounds: layer.bounds,
  };
}

/** Pale areas and lines of other collections, so that the reader knows where he is. */
export function addBackdrop(map, layers) {
  for (const layer of layers) {
    const source = `backdrop-${layer.id}`;
    map.addSource(source, vectorSource(layer));
    const common = { source, "source-layer": layer.sourceLayer, minzoom: BACKDROP_FROM };
    if (layer.geometry === "polygon") {
      const paint = { "fill-color": colour("map-area") };
      map.addLayer({ id: source, type: "fill", ...common, paint });
    } else {
      const width = ["interpolate", ["linear"], ["zoom"], 10, 0.4, 14, 1.4, 18, 6];
      const paint = { "line-color": colour("map-line"), "line-width": width };
      map.addLayer({ id: source, type: "line", ...common, layout: { "line-cap": "round" }, paint });
    }
  }
}

/** Fill, line and circle layers over one source, each for its kind of geometry. Returns their ids. */
export function addDataLayers(map, source, geometry, sourceLayer) {
  const common = { source, ...(sourceLayer ? { "source-layer": sourceLayer } : {}) };
  const data = colour("map-data");
  const chosen = (yes, no) => ["case", ["boolean", ["feature-state", "selected"], false], yes, no];
  const tint = chosen(colour("map-select"), data);
  const wanted = (name) => geometry === "mixed" || geometry === name;
  const ids = [];
  const add = (layer) => {
    map.addLayer({ ...common, ...layer });
    ids.push(layer.id);
  };
  if (wanted("polygon")) {
    const outline = ["interpolate", ["linear"], ["zoom"], 13, 0.2, 16, 1.2];
    add({ id: `${source}-fill`, type: "fill", filter: GEOMETRY.polygon, paint: { "fill-color": tint, "fill-opacity": 0.55 } });
    add({ id: `${source}-outline`, type: "line", filter: GEOMETRY.polygon, paint: { "line-color": tint, "line-width": outline } });
  }
  if (wanted("line")) {
    const width = ["interpolate", ["linear"], ["zoom"], 10, 0.8, 14, 2, 18, 6];
    add({ id: `${source}-line`, type: "line", filter: GEOMETRY.line, layout: { "line-cap": "round" }, paint: { "line-color": tint, "line-width": width } });
  }
  if (wanted("point")) {
    const radius = ["interpolate", ["linear"], ["zoom"], 10, 1.6, 14, 3.2, 17, 6];
    add({
      id: `${source}-point`,
      type: "circle",
      filter: GEOMETRY.point,
      paint: {
        "circle-color": tint,
        "circle-radius": geometry === "point" && !sourceLayer ? 7 : radius,
        "circle-stroke-color": colour("surface"),
        "circle-stroke-width": ["interpolate", ["linear"], ["zoom"], 11, 0, 14, 1.2],
      },
    });
  }
  return ids;
}

/** Add a collection's vector tiles; returns the ids of its layers. */
export function addVectorLayer(map, layer) {
  map.addSource("data", vectorSource(layer));
  return addDataLayers(map, "data", layer.geometry, layer.sourceLayer);
}

/** Show map tiles as the picture of the page; another template takes the place of the one before. */
export function addPicture(map, template, maxzoom, bounds) {
  const tiles = [new URL(template, location.origin).href.replaceAll("%7B", "{").replaceAll("%7D", "}")];
  const source = map.getSource("picture");
  if (source) {
    source.setTiles(tiles);
  } else {
    map.addSource("picture", { type: "raster", tiles, tileSize: 256, maxzoom, bounds });
    map.addLayer({ id: "picture", type: "raster", source: "picture" });
  }
  showPicture(map, template);
}

/** Show the picture, or hide it for null. */
export function showPicture(map, template) {
  showLayers(map, map.getLayer("picture") ? ["picture"] : [], template !== null);
}

/** Show or hide layers. */
export function showLayers(map, ids, shown) {
  for (const id of ids) map.setLayoutProperty(id, "visibility", shown ? "visible" : "none");
}

/** Outlines of boxes; `features` have a rectangle each. */
export function addOutlines(map, features) {
  map.addSource("extents", { type: "geojson", data: { type: "FeatureCollection", features } });
  const tint = ["case", ["get", "simulated"], colour("warm"), colour("map-data")];
  map.addLayer({ id: "extents", type: "line", source: "extents", paint: { "line-color": tint, "line-width": 2, "line-dasharray": [3, 2] } });
}

export function rectangle([west, south, east, north], properties) {
  const ring = [[west, south], [east, south], [east, north], [west, north], [west, south]];
  return { type: "Feature", properties, geometry: { type: "Polygon", coordinates: [ring] } };
}

/** Resolves when the style can take sources and layers. */
export function whenLoaded(map) {
  return new Promise((resolve) => {
    if (map.isStyleLoaded()) resolve();
    else map.once("style.load", resolve);
  });
}

/** A hand over what can be clicked, and `act(feature)` (null beside everything) on a click. */
export function onPick(map, layerIds, act) {
  map.on("click", (event) => act(map.queryRenderedFeatures(event.point, { layers: layerIds })[0] ?? null, event));
  map.on("mousemove", (event) => {
    const hit = map.queryRenderedFeatures(event.point, { layers: layerIds }).length > 0;
    map.getCanvas().style.cursor = hit ? "pointer" : "";
  });
}

// The attributes of a single point: what was picked says where it is, the server what is there.

import * as Cesium from "cesium";
import { getJSON } from "../page.js";
import { text } from "./texts.js";

const AROUND = 0.6; // metres about the picked place in which the point is looked for at least
const MOST = 200;
const DEGREE = 111_320; // metres of latitude
const FLAGS = ["Synthetic", "KeyPoint", "Withheld", "Overlap", "ScannerChannel", "ScanDirectionFlag", "EdgeOfFlightLine", "UserData"];
const TITLED = ["Classification", "Intensity", "ReturnNumber", "NumberOfReturns", "PointSourceId"];

/** The point of a page of GeoJSON that is nearest to a place; heights as the scene counts them. */
function nearest(features, { lon, lat, height }, points) {
  const z = points.facts?.dimensions.Z;
  const away = ({ geometry: { coordinates: [x, y, up] } }) => {
    const rise = z ? points.ellipsoidal(up, z) - height : 0;
    return Math.hypot((x - lon) * DEGREE * Math.cos((lat * Math.PI) / 180), (y - lat) * DEGREE, rise);
  };
  return features.reduce((best, one) => (best && away(best) <= away(one) ? best : one), null);
}

/** [label, value] of the dimensions of a point, flags only where they are set. */
function rows({ geometry, properties }, points) {
  const { Classification: code } = properties;
  const name = points.facts?.classes.find((one) => one.code === code)?.name;
  const shown = Object.entries(properties).filter(([id, value]) => !FLAGS.includes(id) || value);
  const value = (id, found) => (id === "Classification" && name ? `${name} (${code})` : found);
  return [[text("points_own_height"), geometry.coordinates[2]], ...shown.map(([id, found]) => [TITLED.includes(id) ? text(`points_${id}`) : id, value(id, found)])];
}

/** Metres about a place that a point of the screen covers there: what was picked may be its rim. */
function reach({ city, points }, place) {
  const { scene, camera } = city;
  const sphere = new Cesium.BoundingSphere(Cesium.Cartesian3.fromDegrees(place.lon, place.lat, place.height), 0);
  return Math.max(AROUND, camera.getPixelSize(sphere, scene.drawingBufferWidth, scene.drawingBufferHeight) * points.look.size);
}

/** {titled, id} of the point at a picked place; {} where the server does not tell. */
export async function askPoint(layer, place) {
  const { points } = layer;
  if (!points.settings.items) return {};
  const north = reach(layer, place) / DEGREE;
  const east = north / Math.cos((place.lat * Math.PI) / 180);
  const box = [place.lon - east, place.lat - north, place.lon + east, place.lat + north].map((side) => side.toFixed(9));
  try {
    await points.loadFacts();
    const { features } = await getJSON(`${points.settings.items}?f=json&limit=${MOST}&bbox=${box.join(",")}`);
    const found = nearest(features, place, points);
    return found ? { titled: Object.fromEntries(rows(found, points)), id: found.id } : {};
  } catch (error) {
    console.warn(`point of ${layer.id}: ${error.message}`);
    return {};
  }
}

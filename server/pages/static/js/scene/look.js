// The one place where a 3D layer's look is put together: colouring by attribute, opacity, paleness above the ground, and what
// stands at an instant, as one Cesium3DTileStyle. Its expressions are functions, since a million texts decoded for a chain of
// conditions would take seconds.

import * as Cesium from "cesium";
import { OTHER, rampAt } from "./colours.js";
import { reader, stands } from "./instants.js";

const PALE = "#cfe3e6";
const scratch = new Cesium.Color();

/** {style, replaces}: undefined style for the look of the tiles themselves. `look` is described in layers.js. */
export function styleOf(look) {
  const alpha = look.opacity * (look.pale ?? 1);
  const { colouring, instant } = look;
  if (!colouring && alpha === 1 && !instant) return { style: undefined, replaces: false };
  const style = new Cesium.Cesium3DTileStyle();
  const colour = (colouring && colourFunction(colouring)) ?? null;
  const plain = Cesium.Color.fromCssColorString(look.pale === undefined ? "#ffffff" : PALE);
  style.color = {
    evaluateColor: (feature, result) => {
      const made = colour ? colour(feature, result) : Cesium.Color.clone(plain, result);
      made.alpha = alpha;
      return made;
    },
    evaluate: (feature) => style.color.evaluateColor(feature, scratch),
  };
  if (instant) style.show = { evaluate: standing(instant) };
  return { style, replaces: colour !== null || look.pale !== undefined };
}

/** A function of (feature, result) that gives its colour. */
function colourFunction(colouring) {
  if (colouring.mode === "single") {
    const colour = Cesium.Color.fromCssColorString(colouring.colour);
    return (feature, result) => Cesium.Color.clone(colour, result);
  }
  const other = Cesium.Color.fromCssColorString(OTHER);
  if (colouring.mode === "category") {
    const colours = new Map([...(colouring.values ?? [])].map(([value, css]) => [value, Cesium.Color.fromCssColorString(css)]));
    return (feature, result) => Cesium.Color.clone(colours.get(feature.getProperty(colouring.field)) ?? other, result);
  }
  const { field, low, high, ramp } = colouring;
  return (feature, result) => {
    const value = Number(feature.getProperty(field) ?? Number.NaN);
    if (Number.isNaN(value)) return Cesium.Color.clone(other, result);
    const [red, green, blue] = rampAt(ramp, (value - low) / (high - low));
    return Cesium.Color.fromBytes(red, green, blue, 255, result);
  };
}

/** Whether a feature stands at an instant: `{seconds, begin, end}`, begin and end being ids of fields or null. */
function standing({ seconds, begin, end }) {
  const [readBegin, readEnd] = [begin && reader(begin), end && reader(end)];
  return (feature) => stands(begin ? readBegin(feature.getProperty(begin)) : null, end ? readEnd(feature.getProperty(end)) : null, seconds);
}

// What a colouring needs of the data: the values of a category, the spread of a number; and its legend.

import { OTHER, RAMPS, categories, spread } from "./colours.js";
import { number, text } from "./texts.js";

/** A colouring as the reader chose it, filled with what the loaded tiles hold. Null where the field holds nothing to colour by. */
export function filled(layer, chosen) {
  if (!chosen || chosen.mode === "single") return chosen;
  const values = layer.fields.sample(chosen.field);
  if (chosen.mode === "category") return { ...chosen, values: categories(values) };
  if (chosen.low !== undefined) return chosen;
  const numbers = values.map(Number).filter((value) => !Number.isNaN(value));
  const range = spread(numbers);
  return range && { ...chosen, ...range };
}

/** How to colour by a field at first sight: a ramp for many different numbers, else categories. */
export function suggested(layer, field) {
  const values = layer.fields.sample(field);
  const numeric = values.length > 0 && values.every((value) => typeof value === "number" || typeof value === "bigint");
  const many = new Set(values).size > 12;
  return numeric && many ? { mode: "number", field, ramp: "viridis" } : { mode: "category", field };
}

/** [{colour, label}] of a colouring; a ramp gives its stops. */
export function legendOf(colouring) {
  if (!colouring || colouring.mode === "single") return [];
  if (colouring.mode === "category") {
    const known = [...(colouring.values ?? [])].map(([value, colour]) => ({ colour, label: String(value) }));
    return [...known, { colour: OTHER, label: text("other") }];
  }
  const stops = RAMPS[colouring.ramp] ?? RAMPS.viridis;
  const step = (colouring.high - colouring.low) / (stops.length - 1);
  return stops.map((colour, i) => ({ colour, label: number(colouring.low + i * step, Math.abs(step) < 5 ? 1 : 0) }));
}

// The words of the scene in the page's language, and numbers as that language writes them.

import { mapSettings, settings } from "../page.js";

const texts = mapSettings.messages ?? {};
export const language = settings.language;

/** The text of `key`, with `{name}` places filled. */
export function text(key, values = {}) {
  return (texts[key] ?? key).replace(/\{(\w+)\}/g, (place, name) => (name in values ? String(values[name]) : place));
}

/** A number with at most `digits` decimals. */
export function number(value, digits = 0) {
  return new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(value);
}

/** Metres, kilometres from 10,000 m on. */
export function length(metres) {
  return Math.abs(metres) >= 10_000 ? `${number(metres / 1000, 2)} km` : `${number(metres, 2)} m`;
}

/** Square metres, hectares, square kilometres. */
export function area(squareMetres) {
  if (squareMetres >= 1e6) return `${number(squareMetres / 1e6, 3)} km²`;
  return squareMetres >= 1e4 ? `${number(squareMetres / 1e4, 3)} ha` : `${number(squareMetres, 1)} m²`;
}

/** Degrees with seven decimals, about a centimetre. */
export const degrees = (value) => `${value.toFixed(7)}°`;

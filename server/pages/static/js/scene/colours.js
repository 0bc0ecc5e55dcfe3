// Colours for attributes: palettes of categories, ramps of numbers, and the arithmetic between them. Knows no Cesium.

export const PALETTE = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8c6bb1", "#f0e442", "#7f5539", "#90be6d", "#e5989b", "#577590"];
export const OTHER = "#9aa5a8"; // values beyond the palette, and none at all

export const RAMPS = {
  viridis: ["#440154", "#3b528b", "#21918c", "#5ec962", "#fde725"],
  heat: ["#fff3c4", "#fec561", "#f4843c", "#d1382c", "#7a0f26"],
  water: ["#e4f3f7", "#9fd0e0", "#4ba3c7", "#1f6fa5", "#0b3566"],
  terrain: ["#1c3078", "#148caa", "#78be5a", "#f5d75a", "#c84628"],
  grey: ["#101010", "#ffffff"],
  earth: ["#f6ead2", "#d9b87a", "#a97c46", "#6b4a2b", "#33231a"],
};

/** [red, green, blue], 0 to 255, of "#rrggbb". */
export function channels(colour) {
  return [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16));
}

/** The colour of a ramp at `part` (0 to 1) as [red, green, blue]. */
export function rampAt(name, part) {
  const stops = RAMPS[name] ?? RAMPS.viridis;
  const place = Math.min(Math.max(part, 0), 1) * (stops.length - 1);
  const from = Math.min(Math.floor(place), stops.length - 2);
  const [a, b] = [channels(stops[from]), channels(stops[from + 1])];
  return a.map((value, i) => Math.round(value + (b[i] - value) * (place - from)));
}

/** The values between which a ramp is spread: the 2nd and 98th percentile, so that one tower does not make a city flat. */
export function spread(numbers) {
  const sorted = Float64Array.from(numbers).sort();
  if (sorted.length === 0) return null;
  const at = (part) => sorted[Math.round(part * (sorted.length - 1))];
  const [low, high] = [at(0.02), at(0.98)];
  return low < high ? { low, high } : { low: sorted[0], high: sorted.at(-1) > sorted[0] ? sorted.at(-1) : sorted[0] + 1 };
}

/** Colours of the values of a category: the commonest get the palette, in the order of the alphabet, so that they stay theirs. */
export function categories(values) {
  const counts = new Map();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  const common = [...counts].sort((a, b) => b[1] - a[1]).slice(0, PALETTE.length).map(([value]) => value);
  common.sort((a, b) => String(a).localeCompare(String(b)));
  return new Map(common.map((value, i) => [value, PALETTE[i]]));
}

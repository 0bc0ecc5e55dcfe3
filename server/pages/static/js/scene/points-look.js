// How a point cloud is shown beside its colours: classes left out, size and density of points, the times it was flown, edges drawn
// darker. A plain object, also as a part of the address. Knows no Cesium.

export const PLAIN = Object.freeze({ hidden: Object.freeze([]), size: 4, density: 1, from: null, until: null, edges: null });
export const SIZES = { low: 1, high: 12 };
export const DENSITIES = { low: 0.25, high: 4 };
const HIGHEST_CLASS = 255;
const MOST_LAYERS = 50;

const number = (text) => (/^-?\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN);
const short = (value) => String(Number(value.toFixed(3)));
const inside = (value, { low, high }) => value >= low && value <= high;

/** Whether a look says nothing of its own. */
export const isPlain = (look) => writeLook(look) === "";

/** "off.7.18;size.6;density.2;times.10.5~20": what differs from the plain look; empty for the plain one. */
export function writeLook({ hidden, size, density, from, until, edges }) {
  const parts = [];
  if (hidden.length) parts.push(`off.${[...hidden].sort((a, b) => a - b).join(".")}`);
  if (size !== PLAIN.size) parts.push(`size.${short(size)}`);
  if (density !== PLAIN.density) parts.push(`density.${short(density)}`);
  if (from !== null || until !== null) parts.push(`times.${from === null ? "" : short(from)}~${until === null ? "" : short(until)}`);
  if (edges !== null) parts.push(`edges.${edges ? 1 : 0}`);
  return parts.join(";");
}

function readTimes(text) {
  const [from, until, more] = text.split("~").map((part) => (part === "" ? null : number(part)));
  if (more !== undefined || until === undefined || Number.isNaN(from) || Number.isNaN(until)) return null;
  return from === null || until === null || from <= until ? { from, until } : null;
}

const READERS = {
  off: (text) => {
    const hidden = text.split(".").map(number);
    return hidden.every((code) => Number.isInteger(code) && code >= 0 && code <= HIGHEST_CLASS) ? { hidden } : null;
  },
  size: (text) => (inside(number(text), SIZES) ? { size: number(text) } : null),
  density: (text) => (inside(number(text), DENSITIES) ? { density: number(text) } : null),
  times: readTimes,
  edges: (text) => (/^[01]$/.test(text) ? { edges: text === "1" } : null),
};

/** The look that `writeLook` wrote; null where a part of it cannot be read. */
export function readLook(text) {
  let look = { ...PLAIN };
  for (const part of text.split(";")) {
    const [name, value] = [part.slice(0, Math.max(part.indexOf("."), 0)), part.slice(part.indexOf(".") + 1)];
    const read = Object.hasOwn(READERS, name) ? READERS[name](value) : null;
    if (read === null) return null;
    look = { ...look, ...read };
  }
  return look;
}

/** The part of the address: "layer:off.7;size.6,other:density.2". */
export const pointLooks = {
  write: (all) => Object.entries(all).map(([id, look]) => `${id}:${writeLook(look)}`).join(","),
  read: (text) => {
    const found = {};
    const layers = text.split(",");
    if (layers.length > MOST_LAYERS) return null;
    for (const layer of layers) {
      const match = /^([a-z0-9_-]+):(.+)$/.exec(layer);
      const look = match && readLook(match[2]);
      if (!look) return null;
      found[match[1]] = look;
    }
    return found;
  },
};

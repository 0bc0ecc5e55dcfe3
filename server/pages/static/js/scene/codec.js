// The state of the scene as the part of an address after "#": short, readable, and never trusted.
//
//   #view=24.94412,60.17031,350.2;348,-38&layers=-streets,pipes:60&under=70&cut=24.9441,60.1703,90
//
// Every part is read on its own; one that cannot be read is left out and named in `ignored`.

import { pointLooks } from "./points-look.js";

const number = (text) => (/^-?\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN);
const round = (value, digits) => String(Number(value.toFixed(digits)));
const inside = (value, low, high) => Number.isFinite(value) && value >= low && value <= high;
const place = (lon, lat) => inside(lon, -180, 180) && inside(lat, -90, 90);
const instant = (text) => /^\d{4}(-\d{2}(-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?Z)?)?)?$/.test(text) && !Number.isNaN(Date.parse(text));
const escape = (text) => encodeURIComponent(text).replaceAll("%20", "+").replaceAll("(", "%28").replaceAll(")", "%29");
const unescape = (text) => decodeURIComponent(text.replaceAll("+", "%20"));
const lonLat = ([lon, lat]) => `${round(lon, 7)},${round(lat, 7)}`;

function readPlaces(text, most) {
  const points = text.split(";").map((pair) => pair.split(",").map(number));
  return points.length <= most && points.every((p) => p.length >= 2 && p.length <= 3 && place(p[0], p[1]) && p.every(Number.isFinite)) ? points : null;
}

const view = {
  write: (v) => `${lonLat([v.lon, v.lat])},${round(v.height, 1)};${round(v.heading, 1)},${round(v.pitch, 1)}`,
  read: (text) => {
    const [at = "", turned = ""] = text.split(";");
    const [lon, lat, height] = at.split(",").map(number);
    const [heading, pitch] = turned.split(",").map(number);
    const good = place(lon, lat) && inside(height, -20_000, 1e8) && inside(heading, -360, 360) && inside(pitch, -90, 90);
    return good ? { lon, lat, height, heading, pitch } : null;
  },
};

/** Layers that differ from how the scene starts: "-id" hidden, "id" shown, "id:60" shown at 60 percent. */
const layers = {
  write: (all) => Object.entries(all).map(([id, { visible, opacity }]) => `${visible ? "" : "-"}${id}${opacity < 1 ? `:${Math.round(opacity * 100)}` : ""}`).join(","),
  read: (text) => {
    const found = {};
    for (const part of text.split(",")) {
      const match = /^(-?)([a-z0-9_-]+?)(?::(\d{1,3}))?$/.exec(part);
      if (!match || Number(match[3] ?? 100) > 100) return null;
      found[match[2]] = { visible: match[1] !== "-", opacity: Number(match[3] ?? 100) / 100 };
    }
    return found;
  },
};

const style = {
  write: (all) => Object.entries(all).map(([id, s]) => {
    if (s.mode === "single") return `${id}:${s.colour.slice(1)}`;
    return s.mode === "category" ? `${id}:each:${escape(s.field)}` : `${id}:${s.ramp}:${escape(s.field)}:${round(s.low, 3)}:${round(s.high, 3)}`;
  }).join(","),
  read: (text) => {
    const found = {};
    for (const part of text.split(",")) {
      const [id, kind = "", field = "", low, high] = part.split(":");
      if (!/^[a-z0-9_-]+$/.test(id)) return null;
      if (/^[0-9a-f]{6}$/i.test(kind) && !field) found[id] = { mode: "single", colour: `#${kind.toLowerCase()}` };
      else if (kind === "each" && field) found[id] = { mode: "category", field: unescape(field) };
      else if (/^[a-z]+$/.test(kind) && field && number(low) < number(high)) found[id] = { mode: "number", ramp: kind, field: unescape(field), low: number(low), high: number(high) };
      else return null;
    }
    return found;
  },
};

const percent = {
  write: (value) => String(Math.round(value * 100)),
  read: (text) => (inside(number(text), 0, 100) ? number(text) / 100 : null),
};

const section = {
  write: (s) => `${lonLat([s.lon, s.lat])},${round(s.heading, 1)}`,
  read: (text) => {
    const [lon, lat, heading] = text.split(",").map(number);
    return place(lon, lat) && inside(heading, -360, 360) ? { lon, lat, heading } : null;
  },
};

const box = {
  write: (b) => `${lonLat([b.lon, b.lat])},${[b.heading, b.width, b.length, b.bottom, b.top].map((v) => round(v, 1)).join(",")}`,
  read: (text) => {
    const [lon, lat, heading, width, length, bottom, top] = text.split(",").map(number);
    const good = place(lon, lat) && inside(heading, -360, 360) && width > 0 && length > 0 && inside(bottom, -12_000, 20_000) && top > bottom;
    return good ? { lon, lat, heading, width, length, bottom, top } : null;
  },
};

const pit = {
  write: (p) => `${round(p.depth, 1)};${p.ring.map(lonLat).join(";")}`,
  read: (text) => {
    const [depth = "", ...ring] = text.split(";");
    const points = ring.length >= 3 ? readPlaces(ring.join(";"), 200) : null;
    return points && inside(number(depth), 0.1, 500) ? { depth: number(depth), ring: points.map(([lon, lat]) => [lon, lat]) } : null;
  },
};

const time = { write: (text) => text, read: (text) => (instant(text) ? text : null) };

/** "50;asof=2024-01-01T00:00:00Z,-buildings;datetime=2030": where the bar stands, then each side: instants and layers left out. */
const compare = {
  write: (c) => [percent.write(c.position), ...[c.left, c.right].map((side) => [...["asof", "datetime"].filter((k) => side[k]).map((k) => `${k}=${side[k]}`), ...side.hidden.map((id) => `-${id}`)].join(","))].join(";"),
  read: (text) => {
    const [position, ...sides] = text.split(";");
    const read = percent.read(position);
    if (read === null || sides.length !== 2) return null;
    const [left, right] = sides.map(readSide);
    return left && right ? { position: read, left, right } : null;
  },
};

function readSide(text) {
  const side = { asof: null, datetime: null, hidden: [] };
  for (const part of text ? text.split(",") : []) {
    const named = /^(asof|datetime)=(.+)$/.exec(part);
    if (named && instant(named[2])) side[named[1]] = named[2];
    else if (/^-[a-z0-9_-]+$/.test(part)) side.hidden.push(part.slice(1));
    else return null;
  }
  return side;
}

const PARTS = { view, layers, style, points: pointLooks, under: percent, cut: section, box, pit, time, sun: time, compare };

/** The text after "#" of a state; parts that are null, undefined or empty are left out. */
export function writeState(state) {
  return Object.entries(PARTS)
    .filter(([name]) => state[name] !== null && state[name] !== undefined && (typeof state[name] !== "object" || Object.keys(state[name]).length > 0))
    .map(([name, part]) => `${name}=${part.write(state[name])}`)
    .join("&");
}

/** {state, ignored}: what the text after "#" says, and the names of the parts that say nothing readable. Never throws. */
export function readState(hash) {
  const [state, ignored] = [{}, []];
  for (const piece of hash.replace(/^#/, "").slice(0, 20_000).split("&").filter(Boolean)) {
    const [name, value] = [piece.slice(0, Math.max(piece.indexOf("="), 0)), piece.slice(piece.indexOf("=") + 1)];
    let read = null;
    try {
      read = Object.hasOwn(PARTS, name) ? PARTS[name].read(value.replaceAll("%3B", ";").replaceAll("%2C", ",").replaceAll("%3A", ":")) : null;
    } catch (error) {
      if (!(error instanceof URIError)) throw error;
    }
    if (read === null) ignored.push(name || piece.slice(0, 30));
    else state[name] = read;
  }
  return { state, ignored };
}

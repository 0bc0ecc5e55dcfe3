// What is here from the sky to the bedrock: asked of the service that the page's settings name, drawn as a column with the ground in it.

import { html, nothing } from "lit";
import { getJSON } from "../page.js";
import { length, text } from "./texts.js";

const WORDS = 3; // values shown of one object

/** What is over and under a place: {layers, ground, features}, layers sky first; heights in metres or null. */
export async function verticalProfile(address, { lon, lat }) {
  const url = new URL(address, location.origin);
  url.searchParams.set("coords", `POINT(${lon} ${lat})`);
  url.searchParams.set("f", "json");
  const { layers = [], ground = null, features = [] } = await getJSON(url.href);
  return { layers, ground, features };
}

/** The first values of an object that say something: words before numbers. */
function wordsOf(properties) {
  const values = Object.entries(properties ?? {}).filter(([, value]) => value !== null && value !== "" && typeof value !== "object");
  const words = values.filter(([, value]) => typeof value === "string");
  return [...new Set([...words, ...values].slice(0, WORDS).map(([name, value]) => `${name}: ${value}`))].join(" · ");
}

/** The heights of an object: above or below the ground where that is known. */
function heightsOf({ top, bottom }, ground) {
  const known = [top, bottom].filter((value) => Number.isFinite(value));
  if (known.length === 0) return "";
  if (!Number.isFinite(ground)) return known.map(length).join(" – ");
  const middle = known.reduce((sum, value) => sum + value, 0) / known.length;
  const from = known.map((value) => length(Math.abs(value - ground)));
  if (known.length === 2 && top > ground && bottom < ground && middle > ground) return text("profile_above", { from: length(0), to: from[0] });
  const [low, high] = middle >= ground ? [from.at(-1), from[0]] : [top > ground ? length(0) : from[0], from.at(-1)];
  return text(middle >= ground ? "profile_above" : "profile_below", { from: low, to: high });
}

function entry(one, ground) {
  const below = Number.isFinite(ground) && ((one.top ?? one.bottom) + (one.bottom ?? one.top)) / 2 < ground;
  const words = wordsOf(one.properties);
  return html`<li class=${below ? "below" : "above"}><strong>${one.title ?? one.collection}</strong> <span class="muted">${heightsOf(one, ground)}</span>
    ${words ? html`<br /><span class="small">${words}</span>` : nothing}</li>`;
}

const middleOf = ({ top, bottom }) => ((top ?? bottom) + (bottom ?? top)) / 2;

export function profileView(found) {
  if (found.failed) return html`<p role="alert">${text("profile_failed", { why: found.failed })}</p>`;
  const { layers, ground, features } = found;
  if (layers.length === 0 && features.length === 0 && ground === null) return html`<p>${text("nothing_here")}</p>`;
  const isAbove = (one) => !Number.isFinite(ground) || middleOf(one) >= ground;
  return html`<ol class="profile">
      ${layers.filter(isAbove).map((one) => entry(one, ground))}
      ${Number.isFinite(ground) ? html`<li class="ground"><strong>${text("profile_ground")}</strong> <span class="muted">${length(ground)}</span></li>` : nothing}
      ${layers.filter((one) => !isAbove(one)).map((one) => entry(one, ground))}
    </ol>
    ${features.length ? html`<h3 class="small">${text("profile_areas")}</h3>
      <ul class="profile">${features.map((one) => html`<li><strong>${one.title ?? one.collection}</strong><br /><span class="small">${wordsOf(one.properties)}</span></li>`)}</ul>` : nothing}`;
}

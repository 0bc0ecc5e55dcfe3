// What is here from the sky to the bedrock: asked of the service that the page's settings name, drawn as a column.

import { html } from "lit";
import { getJSON } from "../page.js";
import { length, text } from "./texts.js";

/** The layers over and under a place, sky first: [{title, collection, top, bottom, properties, id}], heights in metres or null. */
export async function verticalProfile(address, { lon, lat }) {
  const url = new URL(address, location.origin);
  url.searchParams.set("coords", `POINT(${lon} ${lat})`);
  url.searchParams.set("f", "json");
  const { layers = [] } = await getJSON(url.href);
  return layers;
}

const heights = ({ top, bottom }) => [top, bottom].filter((value) => Number.isFinite(value)).map(length).join(" – ");

export function profileView(layers) {
  if (layers.failed) return html`<p role="alert">${text("profile_failed", { why: layers.failed })}</p>`;
  if (layers.length === 0) return html`<p>${text("nothing_here")}</p>`;
  return html`<ol class="profile">${layers.map((layer) => html`<li><strong>${layer.title ?? layer.collection}</strong> <span class="muted">${heights(layer)}</span></li>`)}</ol>`;
}

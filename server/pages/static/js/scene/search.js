// Search in the attributes of the city's features through the OGC API; a hit is flown to and shines.

import * as Cesium from "cesium";
import { html, nothing, render } from "lit";
import { getJSON } from "../page.js";
import { flyToSphere } from "./globe.js";
import { text } from "./texts.js";

const MOST = 8; // hits of a layer

/** The box [west, south, east, north] of a GeoJSON geometry, null without coordinates. */
export function boxOf(geometry) {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  const walk = (part) => {
    if (typeof part[0] !== "number") return part.forEach(walk);
    [box[0], box[1]] = [Math.min(box[0], part[0]), Math.min(box[1], part[1])];
    [box[2], box[3]] = [Math.max(box[2], part[0]), Math.max(box[3], part[1])];
    return undefined;
  };
  for (const part of geometry?.geometries ?? [geometry]) if (part?.coordinates?.length) walk(part.coordinates);
  return box[0] <= box[2] ? box : null;
}

const nameOf = ({ id, properties }) => ["name", "name_zh", "title", "名称"].map((key) => properties?.[key]).find(Boolean) ?? String(id);

export class Search {
  constructor(city) {
    this.city = city;
    this.words = "";
    this.hits = null;
    this.problem = "";
    this.element = document.getElementById("tool-search-body");
    this.draw();
  }

  get searched() {
    return this.city.layers.filter((layer) => layer.settings.items && !layer.failed);
  }

  async search(words) {
    this.words = words.trim();
    this.problem = "";
    if (!this.words) return;
    const results = await Promise.allSettled(this.searched.map((layer) => this.ask(layer)));
    this.hits = results.flatMap((result) => (result.status === "fulfilled" ? result.value : []));
    const failed = this.searched.filter((_, i) => results[i].status === "rejected").map((layer) => layer.settings.title);
    if (failed.length) this.problem = text("failed", { what: failed.join(", ") });
    this.city.say(text("search_found", { count: this.hits.length }));
    this.draw();
  }

  /** Features whose texts hold the words, and the one whose id they are: tiles in memory know ids without a request. */
  async ask(layer) {
    const url = new URL(layer.settings.items, location.origin);
    url.search = new URLSearchParams({ q: this.words, limit: String(MOST), f: "json" });
    const { features = [] } = await getJSON(url.href);
    const found = features.map((feature) => ({ layer, feature }));
    const known = layer.fields?.find("id", this.words) ?? [];
    if (known.length && !features.some(({ id }) => String(id) === this.words)) {
      const feature = await getJSON(`${layer.settings.items}/${encodeURIComponent(this.words)}?f=json`);
      found.unshift({ layer, feature });
    }
    return found;
  }

  /** Fly to a hit and let it shine. */
  show({ layer, feature }) {
    if (!layer.visible) this.city.tools.layers.set(layer.id, true);
    const box = boxOf(feature.geometry);
    if (box) {
      const ground = layer.tileset ? Cesium.Cartographic.fromCartesian(layer.tileset.boundingSphere.center)?.height ?? 0 : 0;
      const sphere = Cesium.BoundingSphere.fromRectangle3D(Cesium.Rectangle.fromDegrees(...box), Cesium.Ellipsoid.WGS84, Math.max(ground, 0));
      flyToSphere(this.city.camera, sphere, { range: Math.max(sphere.radius * 4, 120) });
    }
    if (layer.tileset) this.city.tools.highlights.showId(layer, feature.id);
    this.city.tools.picking.panel.show({ layer, feature: null, id: feature.id, titled: this.titled(layer, feature.properties ?? {}), place: null }, []);
  }

  titled(layer, properties) {
    layer.fields?.loadSchema();
    return Object.fromEntries(Object.entries(properties).map(([name, value]) => [layer.fields?.schema?.[name]?.title ?? layer.fields?.titleOf(name) ?? name, value]));
  }

  draw() {
    const submit = (event) => {
      event.preventDefault();
      this.search(new FormData(event.target).get("words"));
    };
    render(
      html`<form @submit=${submit} role="search" class="search-form">
          <input type="search" name="words" maxlength="100" aria-label=${text("search_words")} placeholder=${text("search_words")} />
          <button type="submit" class="button button-small">${text("search")}</button>
        </form>
        ${this.problem ? html`<p role="alert">${this.problem}</p>` : nothing}
        ${this.hits ? html`<ul class="hits">${this.hits.length ? this.hits.map((hit) => html`<li><button type="button" class="link-button" @click=${() => this.show(hit)}>${nameOf(hit.feature)}</button> <span class="muted small">${hit.layer.settings.title}</span></li>`) : html`<li>${text("search_nothing")}</li>`}</ul>` : nothing}`,
      this.element,
    );
  }
}

// A pit: the ground and what stands on it are taken away inside a drawn area, and the server's pit of walls and floor stands there.

import * as Cesium from "cesium";
import { html, nothing, render } from "lit";
import { getJSON } from "../page.js";
import { placeOf } from "./globe.js";
import { area, number, text } from "./texts.js";

const USUAL_DEPTH = 6; // metres

/** A polygon in WKT, closed. */
const wkt = (ring) => `POLYGON((${[...ring, ring[0]].map(([lon, lat]) => `${lon.toFixed(7)} ${lat.toFixed(7)}`).join(",")}))`;

export class Excavation {
  constructor(city) {
    this.city = city;
    this.pit = null; // {ring: [[lon, lat]], depth}
    this.facts = null; // what the server says of it
    this.walls = null;
    this.depth = USUAL_DEPTH;
    this.asked = 0;
    this.element = document.getElementById("tool-pit-body");
    city.on("tileset", () => this.pit && this.clip(this.facts?.clipping ?? this.pit.ring));
    this.draw();
  }

  get service() {
    return this.city.layers.find(({ settings, failed }) => settings.excavation && !failed)?.settings.excavation ?? null;
  }

  get state() {
    return this.pit;
  }

  async restore(state) {
    if (JSON.stringify(state ?? null) === JSON.stringify(this.pit)) return;
    await this.dig(state ?? null);
  }

  async drawArea() {
    const points = await this.city.tools.drawing.start({ kind: "polygon", hint: text("draw_pit") });
    if (!points) return;
    const ring = points.map(placeOf).map(({ lon, lat }) => [lon, lat]);
    await this.dig({ ring, depth: this.depth });
    this.city.changed();
  }

  async dig(pit) {
    this.asked += 1;
    const turn = this.asked;
    this.pit = pit;
    this.facts = null;
    this.takeWalls();
    if (pit) {
      this.depth = pit.depth;
      this.clip(pit.ring);
      await this.build(pit, turn);
    } else {
      this.unclip();
    }
    this.city.tools.opened?.();
    this.draw();
  }

  /** Walls and floor from the server; without them the hole stays a hole, and the reader is told. */
  async build(pit, turn) {
    if (!this.service) return this.city.warn(text("pit_no_service"));
    try {
      const url = new URL(this.service, location.origin);
      url.search = new URLSearchParams({ polygon: wkt(pit.ring), depth: String(pit.depth), f: "json" });
      const facts = await getJSON(url.href);
      url.searchParams.set("f", "3dtiles");
      const walls = await Cesium.Cesium3DTileset.fromUrl(url.href, { backFaceCulling: false });
      if (turn !== this.asked) return undefined;
      this.facts = facts;
      this.clip(facts.clipping);
      this.walls = this.city.scene.primitives.add(walls);
      this.exclude = this.city.tools.cuts.include(walls);
    } catch (error) {
      if (turn === this.asked) this.city.warn(text("pit_failed", { why: error.message ?? String(error) }));
    }
    return undefined;
  }

  takeWalls() {
    if (!this.walls) return;
    this.exclude();
    this.city.scene.primitives.remove(this.walls);
    this.walls = null;
  }

  /** Ground and buildings stop at the rim; what is buried stays, so that the pit shows it. */
  clip(ring) {
    const positions = Cesium.Cartesian3.fromDegreesArray(ring.flat());
    const make = () => new Cesium.ClippingPolygonCollection({ polygons: [new Cesium.ClippingPolygon({ positions })] });
    this.city.scene.globe.clippingPolygons = make();
    for (const layer of this.city.layers) {
      if (layer.group === "underground") continue;
      for (const tileset of layer.tilesets) tileset.clippingPolygons = make();
    }
    this.city.scene.requestRender();
  }

  unclip() {
    for (const target of [this.city.scene.globe, ...this.city.tilesets]) if (target.clippingPolygons) target.clippingPolygons = undefined;
    this.city.scene.requestRender();
  }

  draw() {
    const { pit, facts } = this;
    const deepen = async (event) => {
      this.depth = Math.min(Math.max(Number(event.target.value) || USUAL_DEPTH, 0.5), 200);
      if (this.pit) {
        await this.dig({ ...this.pit, depth: this.depth });
        this.city.changed();
      }
      this.draw();
    };
    const remove = () => this.dig(null).then(() => this.city.changed());
    render(
      html`<p class="muted small">${text("pit_help")}</p>
        <label class="field">${text("pit_depth")} <input type="number" name="pit-depth" min="0.5" max="200" step="0.5" .value=${String(this.depth)} @change=${deepen} /></label>
        <div class="tool-buttons">
          <button type="button" class="button button-small" id="pit-draw" @click=${() => this.drawArea()}>${text("pit_draw")}</button>
          ${pit ? html`<button type="button" class="button button-small" id="pit-off" @click=${remove}>${text("remove")}</button>` : nothing}
        </div>
        ${facts ? html`<table class="facts"><tbody>
          <tr><th scope="row">${text("pit_area")}</th><td>${area(facts.area)}</td></tr>
          <tr><th scope="row">${text("pit_volume")}</th><td>${number(facts.cut)} m³</td></tr>
          <tr><th scope="row">${text("pit_floor")}</th><td>${number(facts.floor, 2)} m</td></tr></tbody></table>` : nothing}`,
      this.element,
    );
  }
}

// What a reader chooses about a map: its style with the legend beside it, and, of a series, the instant.

import { addPicture, showPicture } from "./map.js";
import { message } from "./page.js";

const STEP_MS = 1200;

/** An instant to the minute, as the facts beside it write it; at midnight the day alone. */
function instantText(instant) {
  const [day, clock = ""] = instant.split("T");
  return clock === "" || clock.startsWith("00:00:00") ? day : `${day} ${clock.slice(0, clock.slice(6, 8) === "00" ? 5 : 8)} UTC`;
}

/** Binds the controls on the page to pictures on the map. `plain(shown)` shows or hides what else the map draws. */
export class MapChoices {
  constructor(map, choices, bounds, plain) {
    this.map = map;
    this.choices = choices;
    this.bounds = bounds;
    this.plain = plain;
    this.style = document.getElementById("map-style");
    this.time = document.getElementById("map-time");
    this.playing = null;
    if (this.style) this.style.addEventListener("change", () => this.show());
    if (this.time) this.bindTime();
    map.on("error", (event) => this.failed(event));
  }

  bindTime() {
    this.time.addEventListener("input", () => this.say());
    this.time.addEventListener("change", () => this.show());
    this.button("map-time-back", () => this.step(-1));
    this.button("map-time-on", () => this.step(1));
    this.button("map-time-play", () => this.play());
  }

  button(id, act) {
    document.getElementById(id).addEventListener("click", act);
  }

  get chosen() {
    const id = this.style ? this.style.value : this.choices.styles[0].id;
    return this.choices.styles.find((style) => style.id === id) ?? null;
  }

  get instant() {
    return this.time ? this.choices.instants[Number(this.time.value)] : null;
  }

  /** Show what the controls say. */
  show() {
    const style = this.chosen;
    this.say();
    this.legend(style);
    document.getElementById("map-status").textContent = "";
    this.plain(style === null);
    if (style === null) return showPicture(this.map, null);
    const time = this.instant ? `&datetime=${encodeURIComponent(this.instant)}` : "";
    addPicture(this.map, style.tiles + time, this.choices.maxZoom, this.bounds);
  }

  say() {
    if (!this.time) return;
    const text = instantText(this.instant);
    document.getElementById("map-instant").textContent = text;
    this.time.setAttribute("aria-valuetext", text);
  }

  legend(style) {
    const frame = document.getElementById("map-legend");
    frame.hidden = !style?.legend;
    if (frame.hidden) return;
    const image = frame.querySelector("img");
    image.src = style.legend;
    image.srcset = `${style.legend} 1x, ${style.legend}&scale=2 2x`;
    image.alt = message("legend_of", { style: style.title });
    frame.querySelector("a").href = style.page;
  }

  step(by) {
    const count = this.choices.instants.length;
    this.time.value = String((Number(this.time.value) + by + count) % count);
    this.show();
  }

  /** One instant after the other, each when the one before has been drawn. */
  play() {
    const button = document.getElementById("map-time-play");
    if (this.playing !== null) {
      clearTimeout(this.playing);
      this.playing = null;
    } else {
      this.next();
    }
    button.setAttribute("aria-pressed", String(this.playing !== null));
    button.textContent = this.playing === null ? message("play") : message("pause");
  }

  next() {
    this.playing = setTimeout(() => {
      this.step(1);
      this.map.once("idle", () => this.playing !== null && this.next());
    }, STEP_MS);
  }

  failed(event) {
    if (event.sourceId !== "picture") return;
    document.getElementById("map-status").textContent = message("tiles_failed");
  }
}

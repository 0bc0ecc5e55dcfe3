// The panel of the chosen object.

import { html, nothing, render } from "lit";
import { degrees, length, text } from "./texts.js";
import { profileView } from "./profile.js";

const panel = document.getElementById("feature-panel");

const isEmpty = (value) => value === null || value === undefined || value === "";

function shownValue(value) {
  if (typeof value === "number" && !Number.isInteger(value)) return String(Number(value.toPrecision(10)));
  if (typeof value === "string" && /^https?:\/\/\S+$/.test(value)) return html`<a href=${value} rel="noopener noreferrer">${value}</a>`;
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** The words for one object in a list: its name where it has one, its id, and the layer. */
function labelOf({ layer, feature, id }) {
  const name = ["name", "name_zh", "title", "名称"].map((field) => feature?.getProperty(field)).find((value) => !isEmpty(value));
  return [layer.settings.title, name ?? id].filter((part) => !isEmpty(part)).join(": ");
}

export class FeaturePanel {
  constructor({ close, choose, profile }) {
    Object.assign(this, { close, choose, profile, shown: null, others: [], layersHere: null });
  }

  get open() {
    return !panel.hidden;
  }

  hide() {
    panel.hidden = true;
    this.shown = null;
    this.others = [];
  }

  show(found, others = this.others) {
    if (this.shown !== found) this.layersHere = null;
    this.shown = found;
    this.others = others;
    panel.hidden = false;
    this.draw();
  }

  async askProfile() {
    try {
      this.layersHere = await this.profile(this.shown.place);
    } catch (error) {
      this.layersHere = { failed: error.message };
    }
    this.draw();
  }

  draw() {
    const { shown, others } = this;
    if (!shown) return;
    const { layer, titled, id, place } = shown;
    const rows = Object.entries(titled).filter(([, value]) => !isEmpty(value));
    const settings = layer?.settings;
    const item = settings?.items && !isEmpty(id) ? `${settings.items}/${encodeURIComponent(id)}?f=html` : null;
    render(
      html`<button type="button" class="button button-small close" @click=${this.close}>${text("close")}</button>
        <h2>${settings?.title ?? text("place")}</h2>
        ${settings?.simulated ? html`<p><span class="badge badge-simulated">${text("simulated")}</span></p>` : nothing}
        ${others.length > 1 ? this.list(others) : nothing}
        ${rows.length ? html`<table class="facts"><tbody>${rows.map(([name, value]) => html`<tr><th scope="row">${name}</th><td>${shownValue(value)}</td></tr>`)}</tbody></table>` : nothing}
        ${place ? html`<p class="muted small">${degrees(place.lon)}, ${degrees(place.lat)} · ${length(place.height)}</p>` : nothing}
        <p class="links">
          ${item ? html`<a href=${item}>${text("open_item")}</a>` : nothing}
          ${settings ? html`<a href=${settings.href}>${text("about_layer")}</a>` : nothing}
          ${this.profile && place ? html`<button type="button" class="link-button" @click=${() => this.askProfile()}>${text("profile")}</button>` : nothing}
        </p>
        ${this.layersHere ? profileView(this.layersHere) : nothing}`,
      panel,
    );
  }

  list(others) {
    return html`<details class="others" open>
      <summary>${text("objects_here", { count: others.length })}</summary>
      <ul>${others.map((other) => html`<li><button type="button" class="link-button" aria-current=${other.id === this.shown.id && other.layer === this.shown.layer ? "true" : nothing}
        @click=${() => this.choose(other)}>${labelOf(other)}</button></li>`)}</ul>
    </details>`;
  }
}

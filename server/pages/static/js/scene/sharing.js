// A link to what is shown, and a picture of it.

import { html, render } from "lit";
import { text } from "./texts.js";

export class Sharing {
  constructor(city) {
    this.city = city;
    this.element = document.getElementById("tool-share-body");
    this.draw();
  }

  async copy() {
    this.city.tools.address.write();
    const field = this.element.querySelector("input");
    field.value = this.city.tools.address.href();
    try {
      await navigator.clipboard.writeText(field.value);
      this.city.say(text("link_copied"));
    } catch {
      // The clipboard is closed to pages without TLS: leave the address selected for Ctrl+C.
      field.select();
      this.city.say(text("link_select"));
    }
  }

  /** The scene as a PNG, as it stands on the screen. */
  async picture() {
    const { scene } = this.city;
    scene.render();
    return new Promise((resolve) => scene.canvas.toBlob(resolve, "image/png"));
  }

  async download() {
    const blob = await this.picture();
    if (!blob) return this.city.warn(text("picture_failed"));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${location.pathname.split("/").filter(Boolean).join("-")}-${new Date().toISOString().slice(0, 19).replaceAll(":", "")}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    return undefined;
  }

  draw() {
    const whole = () => (document.fullscreenElement ? document.exitFullscreen() : document.getElementById("main").requestFullscreen());
    render(
      html`<div class="tool-buttons">
          <button type="button" class="button button-small" id="share-copy" @click=${() => this.copy()}>${text("link_copy")}</button>
          <button type="button" class="button button-small" id="share-picture" @click=${() => this.download()}>${text("picture_save")}</button>
          <button type="button" class="button button-small" id="share-whole" @click=${whole}>${text("full_screen")}</button>
        </div>
        <input type="text" readonly aria-label=${text("link")} class="share-link" />
        <p class="muted small">${text("link_help")}</p>
        <p><a href=${this.city.settings.extrusion}>${text("light_view")}</a></p>`,
      this.element,
    );
  }
}

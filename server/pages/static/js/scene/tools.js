// The bar of tools: each button opens its panel and closes the one before; on a phone the panel is a sheet over the scene.

export class ToolBar {
  constructor() {
    this.buttons = [...document.querySelectorAll("[data-tool]")];
    for (const button of this.buttons) {
      button.addEventListener("click", () => this.open(button.getAttribute("aria-expanded") === "true" ? null : button.dataset.tool));
    }
    for (const close of document.querySelectorAll("[data-close-tool]")) close.addEventListener("click", () => this.close());
    document.getElementById("scene-tools").addEventListener("keydown", (event) => this.move(event));
  }

  /** Show the panel of a tool, null for none. */
  open(name) {
    for (const button of this.buttons) {
      const here = button.dataset.tool === name;
      button.setAttribute("aria-expanded", String(here));
      document.getElementById(`tool-${button.dataset.tool}`).hidden = !here;
    }
    this.shown = name;
  }

  close() {
    const button = this.buttons.find((one) => one.dataset.tool === this.shown);
    this.open(null);
    button?.focus();
  }

  /** Arrow keys walk along the bar. */
  move(event) {
    const all = [...document.querySelectorAll("#scene-tools button")];
    const by = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    const at = all.indexOf(document.activeElement);
    if (!by || at < 0) return;
    event.preventDefault();
    all[(at + by + all.length) % all.length].focus();
  }
}

// The bar between the two halves of a comparison: a slider for the hand, the finger and the arrow keys.

import { text } from "./texts.js";

const STEP = 0.02;
const clamp = (value) => Math.min(Math.max(value, 0.02), 0.98);

export class SplitBar {
  /** `moved(position, done)`: position is a part of the width; `done` when the hand has let go. */
  constructor(moved) {
    this.moved = moved;
    this.bar = document.getElementById("split-bar");
    this.bar.addEventListener("pointerdown", (event) => {
      this.bar.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    this.bar.addEventListener("pointermove", (event) => this.bar.hasPointerCapture(event.pointerId) && this.to(this.partOf(event), false));
    this.bar.addEventListener("pointerup", (event) => this.to(this.partOf(event), true));
    this.bar.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -STEP, ArrowRight: STEP }[event.key];
      if (!by) return;
      event.preventDefault();
      this.to(this.position + by, true);
    });
  }

  partOf(event) {
    const frame = this.bar.parentElement.getBoundingClientRect();
    return (event.clientX - frame.left) / frame.width;
  }

  to(position, done) {
    this.place(clamp(position));
    this.moved(this.position, done);
  }

  place(position) {
    this.position = position;
    this.bar.style.left = `${position * 100}%`;
    this.bar.setAttribute("aria-valuenow", String(Math.round(position * 100)));
  }

  /** Show the bar at a position with the names of both sides; null hides it. */
  show(position, names) {
    this.bar.hidden = position === null;
    if (position === null) return;
    this.place(position);
    const [left, right] = names;
    this.bar.querySelector(".split-left").textContent = left;
    this.bar.querySelector(".split-right").textContent = right;
    this.bar.setAttribute("aria-label", text("compare_bar", { left, right }));
  }
}

// What all tools of the scene share: the globe, the layers, the line that speaks to the reader, and news between tools.
//
// News: "loaded" (layer, content) a tile came; "learned" (layer) its attributes are known; "styled" (layer) its look is new;
// "tileset" (layer, tileset) one more draws it; "layers" the list changed; "changed" the state of the scene did (a step of its history).

const NEWS_MS = 8_000;
const WARNING_MS = 90_000;

export class City {
  constructor({ widget, budget }, settings) {
    this.widget = widget;
    this.scene = widget.scene;
    this.camera = widget.scene.camera;
    this.budget = budget;
    this.settings = settings;
    this.bounds = settings.bounds;
    this.layers = [];
    this.tools = {};
    this.listeners = new Map();
    this.status = document.getElementById("scene-status");
    this.busy = null; // what takes the pointer at the moment: a drawing, a drag
  }

  on(news, listener) {
    this.listeners.set(news, [...(this.listeners.get(news) ?? []), listener]);
  }

  emit(news, ...what) {
    for (const listener of this.listeners.get(news) ?? []) listener(...what);
  }

  /** Tell the reader what went wrong; it stays a good while. */
  warn(words) {
    this.say(words, WARNING_MS);
  }

  /** Tell the reader; screen readers say it. */
  say(words, milliseconds = NEWS_MS) {
    delete this.status.dataset.loading;
    this.status.textContent = words;
    clearTimeout(this.silence);
    // A hint stays while it is needed; news go.
    this.silence = setTimeout(() => !this.busy && (this.status.textContent = ""), milliseconds);
  }

  changed() {
    this.scene.requestRender();
    this.emit("changed");
  }

  layer(id) {
    return this.layers.find((known) => known.id === id);
  }

  get tilesets() {
    return this.layers.flatMap((layer) => layer.tilesets);
  }

  /** The layer that a tileset draws. */
  layerOf(tileset) {
    return this.layers.find((layer) => layer.tilesets.includes(tileset));
  }

  /** Do something when the next frames have been drawn: a style takes that long to reach the features. */
  afterFrames(count, act) {
    let left = count;
    const remove = this.scene.postRender.addEventListener(() => {
      left -= 1;
      if (left > 0) return this.scene.requestRender();
      remove();
      act();
    });
    this.scene.requestRender();
  }
}

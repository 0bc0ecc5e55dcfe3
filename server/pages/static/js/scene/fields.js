// The attributes of a 3D layer as its loaded tiles carry them: ids, titles in the page's language, and samples of values.

import { getJSON } from "../page.js";
import { language } from "./texts.js";

const SAMPLED = 20_000; // values read for a legend

/** The contents of a tile that have features. */
function contentsOf(content) {
  return (content?.innerContents ?? [content]).filter((part) => part && part.featuresLength > 0);
}

/** The properties of the tiles' own metadata: {id, title in the page's language, field of the collection}. */
function propertiesInTiles(content) {
  const tables = content._model?.structuralMetadata?.propertyTables ?? [];
  const known = tables.flatMap((table) => Object.entries(table.class?.properties ?? {}));
  return known.map(([id, { name = id, extras }]) => ({ id, title: extras?.titles?.[language] ?? name, field: extras?.field ?? name }));
}

export class Fields {
  constructor(layer) {
    this.layer = layer;
    this.contents = new Set();
    this.titles = new Map();
    this.names = new Map();
    this.ids = [];
    this.schema = null;
    this.watch(layer.tileset);
  }

  /** Note what the tileset loads and lets go. */
  watch(tileset) {
    tileset.tileLoad.addEventListener(({ content }) => {
      for (const part of contentsOf(content)) {
        this.contents.add(part);
        if (this.ids.length === 0) this.learn(part);
        this.layer.city.emit("loaded", this.layer, part);
      }
    });
    tileset.tileUnload.addEventListener(({ content }) => contentsOf(content).forEach((part) => this.contents.delete(part)));
  }

  learn(content) {
    const properties = propertiesInTiles(content);
    this.titles = new Map(properties.map(({ id, title }) => [id, title]));
    this.names = new Map(properties.map(({ id, field }) => [id, field]));
    const known = content.getFeature(0).getPropertyIds();
    // A column whose name another had first is called NAME_1: the same values under the same title.
    const copies = (id) => /_1$/.test(id) && known.includes(id.slice(0, -2)) && this.titles.get(id) === this.titles.get(id.slice(0, -2));
    this.ids = known.filter((id) => !copies(id));
    this.layer.city.emit("learned", this.layer);
  }

  /** [{id, title}] of the attributes that a reader may choose; seconds since 1970 are for the time slider alone. */
  get choices() {
    return this.ids.filter((id) => !id.endsWith("_epoch")).map((id) => ({ id, title: this.titleOf(id) }));
  }

  get all() {
    return this.ids.map((id) => ({ id, title: this.titleOf(id) }));
  }

  /** The title of a property: the collection's schema, else the tile's metadata, else its id. */
  titleOf(id) {
    return this.schema?.[id]?.title ?? this.schema?.[this.names.get(id)]?.title ?? this.titles.get(id) ?? id;
  }

  /** Ask the server for the schema, once; without one the titles of the tiles stay. */
  async loadSchema() {
    if (this.schema !== null || !this.layer.settings.schema) return;
    this.schema = {};
    try {
      this.schema = (await getJSON(this.layer.settings.schema)).properties ?? {};
    } catch (error) {
      console.warn(`schema of ${this.layer.id}: ${error.message}`);
    }
  }

  /** Values of a field in what is loaded, evenly taken, at most SAMPLED; missing ones left out. */
  sample(field) {
    const total = [...this.contents].reduce((sum, content) => sum + content.featuresLength, 0);
    const step = Math.max(1, Math.ceil(total / SAMPLED));
    const values = [];
    for (const content of this.contents) {
      for (let i = 0; i < content.featuresLength; i += step) {
        const value = content.getFeature(i).getProperty(field);
        if (value !== undefined && value !== null && value !== "") values.push(value);
      }
    }
    return values;
  }

  /** The loaded features whose `field` is `value`. */
  find(field, value) {
    const found = [];
    for (const content of this.contents) found.push(...matches(content, field, value));
    return found;
  }
}

/** The features of one content whose `field` is `value` (compared as texts). */
export function matches(content, field, value) {
  const found = [];
  for (let i = 0; i < content.featuresLength; i += 1) {
    const feature = content.getFeature(i);
    if (String(feature.getProperty(field)) === String(value)) found.push(feature);
  }
  return found;
}

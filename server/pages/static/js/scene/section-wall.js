// The earth as the section shows it: a face from the ground down, along the cut, through which what is buried can be seen.

import * as Cesium from "cesium";

const SAMPLES = 160;
const DEEP = 60; // metres under the lowest ground along the cut
const EARTH = "#8a6a4a";
const [THIN, THICK] = [0.12, 0.4]; // how much of the face covers, with and without volumes of soil and rock behind it
const BEHIND = 0.15; // metres on the side that stays, so that the cut itself does not take the face away

export class SectionWall {
  constructor(city) {
    Object.assign(this, { city, face: null, at: null });
    city.on("styled", (layer) => this.at && layer.settings.solid && this.refresh());
    city.scene.globe.tileLoadProgressEvent.addEventListener((left) => left === 0 && this.at && this.refresh());
  }

  /** `at` {frame, heading, offset, half}: as the section gives it; null to take the face away. */
  show(at) {
    this.at = at;
    this.refresh();
  }

  /** Ground along the cut: [{lon, lat (radians), height}]; where no ground is loaded there is no face. */
  line() {
    const { frame, heading, offset, half } = this.at;
    const h = Cesium.Math.toRadians(heading);
    const [normal, along] = [[Math.sin(h), Math.cos(h)], [Math.cos(h), -Math.sin(h)]];
    const { globe } = this.city.scene;
    const found = [];
    for (let i = 0; i <= SAMPLES; i += 1) {
      const side = ((2 * i) / SAMPLES - 1) * half;
      const local = new Cesium.Cartesian3(normal[0] * (offset + BEHIND) + along[0] * side, normal[1] * (offset + BEHIND) + along[1] * side, 0);
      const place = Cesium.Cartographic.fromCartesian(Cesium.Matrix4.multiplyByPoint(frame, local, local));
      const height = globe.getHeight(place);
      if (height !== undefined) found.push({ place, height });
    }
    return found;
  }

  refresh() {
    const { primitives } = this.city.scene;
    if (this.face) primitives.remove(this.face);
    this.face = null;
    const line = this.at ? this.line() : [];
    if (line.length >= 2) this.face = primitives.add(this.made(line));
    this.city.scene.requestRender();
  }

  /** Made at once, since the section moves under the pointer; and passed over by picks, which are for what is behind it. */
  made(line) {
    const lowest = Math.min(...line.map(({ height }) => height)) - DEEP;
    const filled = this.city.layers.some((layer) => layer.settings.solid && layer.visible);
    const geometry = new Cesium.WallGeometry({
      positions: line.map(({ place, height }) => Cesium.Cartesian3.fromRadians(place.longitude, place.latitude, height)),
      minimumHeights: line.map(() => lowest),
      vertexFormat: Cesium.PerInstanceColorAppearance.FLAT_VERTEX_FORMAT,
    });
    const color = Cesium.ColorGeometryInstanceAttribute.fromColor(Cesium.Color.fromCssColorString(EARTH).withAlpha(filled ? THIN : THICK));
    return new Cesium.Primitive({
      geometryInstances: new Cesium.GeometryInstance({ geometry, attributes: { color } }),
      appearance: new Cesium.PerInstanceColorAppearance({ flat: true, translucent: true }),
      asynchronous: false,
      allowPicking: false,
    });
  }
}

// The earth as the section shows it: a face from the ground down, along the cut, through which what is buried can be seen.

import * as Cesium from "cesium";

const SAMPLES = 160;
const DEEP = 60; // metres under the lowest ground along the cut
const [THIN, THICK] = [0.12, 0.55]; // how much of the face covers, with and without volumes of soil and rock behind it
const BEHIND = 0.15; // metres on the side that stays, so that the cut itself does not take the face away

export class SectionWall {
  constructor(city) {
    Object.assign(this, { city, entity: null, at: null });
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
    const { entities } = this.city.widget;
    if (this.entity) entities.remove(this.entity);
    this.entity = null;
    const line = this.at ? this.line() : [];
    if (line.length < 2) return;
    const lowest = Math.min(...line.map(({ height }) => height)) - DEEP;
    this.entity = entities.add({
      wall: {
        positions: line.map(({ place, height }) => Cesium.Cartesian3.fromRadians(place.longitude, place.latitude, height)),
        minimumHeights: line.map(() => lowest),
        material: Cesium.Color.fromCssColorString("#8a6a4a").withAlpha(this.city.layers.some((layer) => layer.settings.solid && layer.visible) ? THIN : THICK),
        shadows: Cesium.ShadowMode.DISABLED,
      },
    });
    this.city.scene.requestRender();
  }
}

// The pane of glass where the section stands: it is taken by pointer or finger and moved along its normal.

import * as Cesium from "cesium";

const TALL = 0.16; // of its half width, over the ground

export class PlaneHandle {
  constructor(city, { moved, done }) {
    Object.assign(this, { city, moved, done, entity: null, at: null, grip: null });
    this.handler = new Cesium.ScreenSpaceEventHandler(city.scene.canvas);
    const { LEFT_DOWN, MOUSE_MOVE, LEFT_UP } = Cesium.ScreenSpaceEventType;
    this.handler.setInputAction(({ position }) => this.take(position), LEFT_DOWN);
    this.handler.setInputAction(({ endPosition }) => this.drag(endPosition), MOUSE_MOVE);
    this.handler.setInputAction(() => this.letGo(), LEFT_UP);
  }

  /** `at` {frame, heading, offset, half} as the section gives it; null to take the pane away. */
  show(at) {
    this.at = at;
    const { entities } = this.city.widget;
    if (!at) {
      if (this.entity) entities.remove(this.entity);
      this.entity = null;
    } else if (!this.entity) {
      this.entity = entities.add({ polyline: {
        positions: new Cesium.CallbackProperty(() => this.outline(), false),
        width: 6,
        arcType: Cesium.ArcType.NONE,
        material: Cesium.Color.fromCssColorString("#ff5a1f"),
        depthFailMaterial: Cesium.Color.fromCssColorString("#ff5a1f").withAlpha(0.6),
      } });
    }
  }

  /** The rim of the pane, in world coordinates. */
  outline() {
    if (!this.at) return [];
    const normal = this.normal();
    const along = [normal[1], -normal[0]];
    const { offset, frame, half } = this.at;
    const tall = half * TALL;
    const corner = (side, up) => Cesium.Matrix4.multiplyByPoint(frame, new Cesium.Cartesian3(normal[0] * offset + along[0] * side * half, normal[1] * offset + along[1] * side * half, up), new Cesium.Cartesian3());
    return [corner(-1, -tall / 2), corner(-1, tall), corner(1, tall), corner(1, -tall / 2), corner(-1, -tall / 2)];
  }

  normal() {
    const h = Cesium.Math.toRadians(this.at.heading);
    return [Math.sin(h), Math.cos(h)];
  }

  take(position) {
    if (!this.at || this.city.busy) return;
    const hit = this.city.scene.drillPick(position, 3, 12, 12).find((one) => one.id === this.entity);
    if (!hit) return;
    this.grip = { along: this.along(position), offset: this.at.offset };
    this.city.busy = this;
    this.city.scene.screenSpaceCameraController.enableInputs = false;
  }

  drag(position) {
    if (!this.grip) return;
    const along = this.along(position);
    if (Number.isFinite(along)) this.moved(this.grip.offset + along - this.grip.along);
    this.city.scene.requestRender();
  }

  letGo() {
    if (!this.grip) return;
    this.grip = null;
    this.city.scene.screenSpaceCameraController.enableInputs = true;
    setTimeout(() => (this.city.busy = null), 0);
    this.done();
  }

  /** How far along the normal (m) the ray of the pointer comes nearest to the axis of the pane. */
  along(position) {
    const ray = this.city.camera.getPickRay(position);
    const inverse = Cesium.Matrix4.inverseTransformation(this.at.frame, new Cesium.Matrix4());
    const origin = Cesium.Matrix4.multiplyByPoint(inverse, ray.origin, new Cesium.Cartesian3());
    const direction = Cesium.Matrix4.multiplyByPointAsVector(inverse, ray.direction, new Cesium.Cartesian3());
    const [x, y] = this.normal();
    const axis = new Cesium.Cartesian3(x, y, 0);
    const b = Cesium.Cartesian3.dot(axis, direction);
    const [d, e] = [Cesium.Cartesian3.dot(axis, origin), Cesium.Cartesian3.dot(direction, origin)];
    return (d - b * e) / (1 - b * b);
  }
}

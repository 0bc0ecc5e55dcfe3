// Planes that cut the whole scene, the ground and every tileset alike. What lies behind the plane, seen along its normal, goes.

import * as Cesium from "cesium";

const EDGE = "#ff5a1f";

/** A plane in the east-north-up frame of the cut: `normal` points to what stays. */
export const plane = (normal, distance) => ({ normal: new Cesium.Cartesian3(...normal), distance });

export class Cuts {
  constructor(city) {
    this.city = city;
    this.wanted = new Map(); // tool -> {frame, planes}
    this.cut = []; // collections in use: {collection, target}
    this.others = new Set(); // models that are cut as well
    city.on("tileset", () => this.rebuild());
  }

  /** Cut by the planes of a tool (its name); `planes` null to stop. */
  set(tool, frame, planes) {
    const before = this.wanted.get(tool)?.planes.length ?? 0;
    if (planes) this.wanted.set(tool, { frame, planes });
    else this.wanted.delete(tool);
    if (before === (planes?.length ?? 0)) this.move();
    else this.rebuild();
    this.city.scene.requestRender();
  }

  get planes() {
    return [...this.wanted.values()].flatMap(({ frame, planes }) => planes.map((one) => ({ ...one, frame })));
  }

  /** Planes of all tools as a clipping collection can hold them: in one frame, the first tool's. */
  inFrame(target) {
    return this.planes.map(({ normal, distance, frame }) => {
      const world = Cesium.Plane.transform(new Cesium.Plane(normal, distance), frame);
      const here = Cesium.Plane.transform(world, target);
      return new Cesium.ClippingPlane(here.normal, here.distance);
    });
  }

  /** The frame in which the planes of a tileset are given, and the common one of the city. */
  frames(tileset) {
    const common = this.wanted.values().next().value.frame;
    const toCommon = Cesium.Matrix4.inverseTransformation(common, new Cesium.Matrix4());
    const model = tileset ? Cesium.Matrix4.multiply(Cesium.Matrix4.inverse(tileset.clippingPlanesOriginMatrix, new Cesium.Matrix4()), common, new Cesium.Matrix4()) : common;
    return { toCommon, model };
  }

  rebuild() {
    const { globe } = this.city.scene;
    const targets = [globe, ...this.city.tilesets, ...this.others];
    if (this.wanted.size === 0) {
      for (const target of targets) if (target.clippingPlanes) this.release(target);
      this.cut = [];
      return;
    }
    this.cut = targets.map((target) => {
      const { toCommon, model } = this.frames(target === globe ? null : target);
      target.clippingPlanes = new Cesium.ClippingPlaneCollection({
        planes: this.inFrame(toCommon),
        modelMatrix: model,
        unionClippingRegions: true,
        edgeWidth: 1,
        edgeColor: Cesium.Color.fromCssColorString(EDGE),
      });
      if (target !== globe) target.backFaceCulling = false; // the inside of what is cut shows
      return { target, collection: target.clippingPlanes };
    });
  }

  release(target) {
    target.clippingPlanes.enabled = false;
    target.clippingPlanes = undefined;
    if (target.backFaceCulling === false) target.backFaceCulling = true;
  }

  /** The same planes elsewhere: no shader has to be made again. */
  move() {
    const { globe } = this.city.scene;
    for (const { target, collection } of this.cut) {
      const { toCommon, model } = this.frames(target === globe ? null : target);
      collection.modelMatrix = model;
      this.inFrame(toCommon).forEach((one, i) => {
        const kept = collection.get(i);
        kept.normal = one.normal;
        kept.distance = one.distance;
      });
    }
  }

  /** A tileset outside the list of layers (a pit) that is cut too; returns what takes it out again. */
  include(tileset) {
    this.others.add(tileset);
    this.rebuild();
    return () => this.others.delete(tileset);
  }
}

// Looking under the ground: the globe turns to glass, the buildings pale, and the camera may go below.

import * as Cesium from "cesium";

const GLASS = 0.35; // opacity of the ground from above, near
const PALE = "color('#cfe3e6', 0.12)";
const CUT = 150; // metres: nearer than this the ground is at its clearest

export class Underground {
  constructor(widget, layers, bounds) {
    this.widget = widget;
    this.layers = layers;
    this.bounds = bounds;
    this.on = false;
    this.styles = new Map();
  }

  set(on) {
    if (on === this.on) return;
    this.on = on;
    const { scene } = this.widget;
    const { globe } = scene;
    scene.screenSpaceCameraController.enableCollisionDetection = !on;
    globe.translucency.enabled = on;
    globe.translucency.frontFaceAlphaByDistance = on ? new Cesium.NearFarScalar(CUT, GLASS * 0.5, 6000, GLASS) : undefined;
    globe.translucency.backFaceAlpha = on ? 0.3 : 1;
    scene.skyAtmosphere.show = scene.skyBox.show = !on;
    scene.backgroundColor = on ? Cesium.Color.fromCssColorString("#1a2227") : Cesium.Color.BLACK;
    globe.showGroundAtmosphere = !on;
    this.fade(on);
    if (on) this.fly();
    scene.requestRender();
  }

  /** What stands above the ground pales or goes while we look below; pipes shine, for no sun reaches them. */
  fade(on) {
    const glow = on ? new Cesium.CustomShader({ lightingModel: Cesium.LightingModel.UNLIT }) : undefined;
    for (const layer of this.layers) {
      const { settings, tileset } = layer;
      if (tileset && settings.content === "points") tileset.show = layer.visible && !on;
      if (tileset && settings.content === "pipes") tileset.customShader = glow;
      if (!tileset || !["buildings", "cityjson"].includes(settings.content)) continue;
      if (on) {
        this.styles.set(settings.id, tileset.style);
        tileset.style = new Cesium.Cesium3DTileStyle({ color: PALE });
      } else {
        tileset.style = this.styles.get(settings.id);
      }
    }
  }

  /** Low over the buried network, looking down and along it. */
  fly() {
    const pipes = this.layers.find(({ settings, tileset }) => tileset && settings.content === "pipes");
    const target = pipes?.tileset.boundingSphere;
    if (!target) return;
    const offset = new Cesium.HeadingPitchRange(Cesium.Math.toRadians(20), Cesium.Math.toRadians(-28), Math.min(target.radius * 0.4, 420));
    const centre = new Cesium.BoundingSphere(target.center, 1);
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.widget.camera.flyToBoundingSphere(centre, { duration: still ? 0 : 1.5, offset });
  }
}

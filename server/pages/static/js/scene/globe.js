// The globe itself: the widget, its light, the home view, and when all in view has been loaded.

import * as Cesium from "cesium";
import { beFrugal, budgetOf } from "./device.js";
import { unlifted } from "./points-shader.js";

const SUN = { azimuth: 215, height: 42 }; // where the sun stands while nobody asks for an hour

/** The widget and the budget of the device. */
export function makeGlobe(bounds) {
  Cesium.CreditDisplay.cesiumCredit = new Cesium.Credit("CesiumJS", true);
  const widget = new Cesium.CesiumWidget("globe", {
    baseLayer: Cesium.ImageryLayer.fromProviderAsync(
      Cesium.TileMapServiceImageryProvider.fromUrl(Cesium.buildModuleUrl("Assets/Textures/NaturalEarthII")),
    ),
    creditContainer: "globe-credits",
    blurActiveElementOnCanvasFocus: false,
    requestRenderMode: true,
    maximumRenderTimeChange: Infinity,
    contextOptions: { webgl: { preserveDrawingBuffer: true } },
  });
  const { scene } = widget;
  const budget = budgetOf(scene);
  if (budget.kind === "software") beFrugal(widget);
  scene.msaaSamples = budget.samples;
  scene.globe.maximumScreenSpaceError = budget.terrain;
  scene.globe.depthTestAgainstTerrain = true;
  scene.globe.baseColor = Cesium.Color.fromCssColorString("#8a9a8b");
  scene.globe.undergroundColor = Cesium.Color.fromCssColorString("#20262a");
  scene.screenSpaceCameraController.maximumZoomDistance = 4e7;
  // Whoever drags or draws goes on with the keys.
  scene.canvas.addEventListener("pointerdown", () => document.getElementById("globe").focus({ preventScroll: true }));
  // A double click belongs to the end of a drawing, not to an entity that the camera then would follow.
  widget.screenSpaceEventHandler.removeInputAction(Cesium.ScreenSpaceEventType.LEFT_DOUBLE_CLICK);
  lightFrom(scene, bounds, SUN.azimuth, SUN.height);
  return { widget, budget };
}

/** Light from one side, so that walls show their form; `azimuth` from north and `height` in degrees. */
export function lightFrom(scene, bounds, azimuth = SUN.azimuth, height = SUN.height, intensity = 2.6) {
  const [west, south, east, north] = bounds ?? [0, 0, 0, 0];
  const centre = Cesium.Cartesian3.fromDegrees((west + east) / 2, (south + north) / 2);
  const [a, h] = [Cesium.Math.toRadians(azimuth), Cesium.Math.toRadians(height)];
  const away = new Cesium.Cartesian3(-Math.sin(a) * Math.cos(h), -Math.cos(a) * Math.cos(h), -Math.sin(h));
  const frame = Cesium.Transforms.eastNorthUpToFixedFrame(centre);
  const direction = Cesium.Matrix4.multiplyByPointAsVector(frame, away, new Cesium.Cartesian3());
  scene.light = new Cesium.DirectionalLight({ direction, intensity });
}

export const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Fly to a bounding sphere, looking at it from the south and above. */
export function flyToSphere(camera, sphere, { heading = -12, pitch = -38, range = Math.max(sphere.radius * 1.6, 60), duration = 1.2 } = {}) {
  const offset = new Cesium.HeadingPitchRange(Cesium.Math.toRadians(heading), Cesium.Math.toRadians(pitch), range);
  camera.flyToBoundingSphere(sphere, { duration: reducedMotion ? 0 : duration, offset });
}

/** Look at the whole of `bounds` (degrees). */
export function homeView(camera, bounds, duration = 0) {
  const sphere = Cesium.BoundingSphere.fromRectangle3D(Cesium.Rectangle.fromDegrees(...bounds), Cesium.Ellipsoid.WGS84, 0);
  flyToSphere(camera, sphere, { range: Math.max(sphere.radius * 1.5, 350), duration });
}

/** Waits until the globe and every shown tileset have had nothing to load for a few frames in a row. */
export function settled(widget, tilesets, frames = 4) {
  const { scene } = widget;
  return new Promise((resolve) => {
    let quiet = 0;
    // `initialTilesLoaded` comes too early on implicit tilesets: a subtree arrives, and only then are its tiles asked for.
    const remove = scene.postRender.addEventListener(() => {
      const loaded = scene.globe.tilesLoaded && tilesets().every((tileset) => !tileset.show || tileset.tilesLoaded);
      quiet = loaded ? quiet + 1 : 0;
      if (quiet >= frames) {
        remove();
        resolve();
      } else {
        setTimeout(() => scene.requestRender(), 30);
      }
    });
    scene.requestRender();
  });
}

// A pick counts what is next to the pointer too, a depth is that of one pixel: these are tried for it, the nearest first.
const AROUND = [-2, -1, 0, 1, 2].flatMap((x) => [-2, -1, 0, 1, 2].map((y) => [x, y])).sort(([a, b], [c, d]) => a * a + b * b - c * c - d * d);

/** The point of an object near window coordinates; undefined where none is drawn. */
function objectAt(scene, { x, y }) {
  for (const [right, down] of AROUND) {
    const hit = scene.pickPosition(new Cesium.Cartesian2(x + right, y + down));
    if (hit) return hit;
  }
  return undefined;
}

/** The point of the ground or of an object at window coordinates; null beside the globe. */
export function pointAt(scene, position) {
  const picked = scene.pickPositionSupported ? scene.pick(position) : undefined;
  if (picked !== undefined) {
    const hit = objectAt(scene, position);
    if (hit) return unlifted(picked.tileset ?? picked.primitive, hit, scene.camera);
  }
  const ray = scene.camera.getPickRay(position);
  return (ray && scene.globe.pick(ray, scene)) ?? scene.camera.pickEllipsoid(position) ?? null;
}

/** The middle of the view in window coordinates. */
export function middleOf(scene) {
  return new Cesium.Cartesian2(scene.canvas.clientWidth / 2, scene.canvas.clientHeight / 2);
}

/** Longitude, latitude (degrees) and height (m) of a position. */
export function placeOf(position) {
  const c = Cesium.Cartographic.fromCartesian(position);
  return { lon: Cesium.Math.toDegrees(c.longitude), lat: Cesium.Math.toDegrees(c.latitude), height: c.height };
}

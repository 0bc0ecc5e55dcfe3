// Builds the scene: the globe, its layers, the home view and the panel. scene.js has loaded Cesium by now.

import * as Cesium from "cesium";
import { mapSettings as settings, message } from "./page.js";
import { addKeys } from "./scene-keys.js";
import { loadLayers } from "./scene-layers.js";
import { showLayerList } from "./scene-list.js";
import { addPicking } from "./scene-picking.js";
import { Underground } from "./scene-underground.js";

const status = document.getElementById("scene-status");

/** Whether the browser draws without a graphics card, as on virtual desktops. */
function drawsInSoftware(scene) {
  const gl = scene.context._gl;
  const details = gl.getExtension("WEBGL_debug_renderer_info");
  return details !== null && /swiftshader|llvmpipe|software|basic render/i.test(gl.getParameter(details.UNMASKED_RENDERER_WEBGL));
}

/** A coarser picture that still moves: a third of the pixels, plainer depth and air, coarser tiles. */
function beFrugal(widget) {
  const { scene } = widget;
  widget.useBrowserRecommendedResolution = false;
  widget.resolutionScale = 0.6 / window.devicePixelRatio;
  scene.msaaSamples = 1;
  scene.logarithmicDepthBuffer = false;
  scene.globe.showGroundAtmosphere = false;
  scene.fog.enabled = false;
  scene.globe.maximumScreenSpaceError = 4;
}

function makeWidget() {
  const widget = new Cesium.CesiumWidget("globe", {
    baseLayer: Cesium.ImageryLayer.fromProviderAsync(
      Cesium.TileMapServiceImageryProvider.fromUrl(Cesium.buildModuleUrl("Assets/Textures/NaturalEarthII")),
    ),
    creditContainer: "globe-credits",
    requestRenderMode: true,
    maximumRenderTimeChange: Infinity,
    contextOptions: { webgl: { preserveDrawingBuffer: true } },
  });
  const { scene } = widget;
  if (drawsInSoftware(scene)) beFrugal(widget);
  scene.globe.depthTestAgainstTerrain = true;
  scene.globe.baseColor = Cesium.Color.fromCssColorString("#8a9a8b");
  scene.globe.undergroundColor = Cesium.Color.fromCssColorString("#20262a");
  lightFrom(scene, 215, 42);
  scene.screenSpaceCameraController.maximumZoomDistance = 4e7;
  return widget;
}

/** A sun that stands still over the city, so that walls show their form whatever the reader's hour (degrees). */
function lightFrom(scene, azimuth, altitude) {
  const [west, south, east, north] = settings.bounds ?? [0, 0, 0, 0];
  const centre = Cesium.Cartesian3.fromDegrees((west + east) / 2, (south + north) / 2);
  const [a, h] = [Cesium.Math.toRadians(azimuth), Cesium.Math.toRadians(altitude)];
  const away = new Cesium.Cartesian3(-Math.sin(a) * Math.cos(h), -Math.cos(a) * Math.cos(h), -Math.sin(h));
  const frame = Cesium.Transforms.eastNorthUpToFixedFrame(centre);
  const direction = Cesium.Matrix4.multiplyByPointAsVector(frame, away, new Cesium.Cartesian3());
  scene.light = new Cesium.DirectionalLight({ direction, intensity: 2.6 });
}

function homeView(camera, bounds, { duration = 0 } = {}) {
  const rectangle = Cesium.Rectangle.fromDegrees(...bounds);
  const sphere = Cesium.BoundingSphere.fromRectangle3D(rectangle, Cesium.Ellipsoid.WGS84, 0);
  const range = Math.max(sphere.radius * 1.5, 350);
  const offset = new Cesium.HeadingPitchRange(Cesium.Math.toRadians(-12), Cesium.Math.toRadians(-38), range);
  camera.flyToBoundingSphere(sphere, { duration, offset });
}

/** Waits until the globe and every shown tileset have had nothing to load for a few frames in a row. */
function settled(widget, tilesets, frames = 4) {
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

const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Resolves when everything in view has been loaded; fills `window.chengtuScene` as soon as there is a globe. */
export async function start() {
  Cesium.CreditDisplay.cesiumCredit = new Cesium.Credit("CesiumJS", true);
  const widget = makeWidget();
  const { scene } = widget;
  const layers = await loadLayers(widget, settings.layers);
  const tilesets = () => layers.map((layer) => layer.tileset).filter(Boolean);
  const home = () => homeView(scene.camera, settings.bounds, { duration: reducedMotion ? 0 : 1.5 });
  if (settings.bounds) homeView(scene.camera, settings.bounds);
  const underground = new Underground(widget, layers, settings.bounds);
  const picker = addPicking(widget, layers);
  const list = showLayerList(widget, layers);

  const button = document.getElementById("view-underground");
  const setUnderground = (on) => {
    underground.set(on);
    button.setAttribute("aria-pressed", String(on));
    status.textContent = on ? message("underground_on") : list.summary();
  };
  const goHome = () => {
    setUnderground(false);
    home();
  };
  button.addEventListener("click", () => setUnderground(!underground.on));
  document.getElementById("view-home").addEventListener("click", goHome);
  addKeys(widget, { home: goHome, underground: () => setUnderground(!underground.on), pick: picker.pickCentre });

  const setVisible = (id, on) => list.set(id, on);
  const whenSettled = () => settled(widget, tilesets);
  Object.assign(window.chengtuScene, { Cesium, widget, layers, setUnderground, setVisible, home: goHome, pick: picker.pick, settled: whenSettled });
  await whenSettled();
  status.textContent = list.summary();
}

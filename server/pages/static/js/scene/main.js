// Builds the scene: the globe, its layers, the tools. ../scene.js has loaded Cesium by now.

import * as Cesium from "cesium";
import { mapSettings as settings } from "../page.js";
import { Address } from "./address.js";
import { City } from "./city.js";
import { ClipBox } from "./clip-box.js";
import { ColourTool } from "./colour-tool.js";
import { Comparison } from "./comparison.js";
import { Cuts } from "./cuts.js";
import { Drawing } from "./drawing.js";
import { Excavation } from "./excavation.js";
import { Flight } from "./flight.js";
import { homeView, makeGlobe, reducedMotion, settled } from "./globe.js";
import { Highlights } from "./highlights.js";
import { addKeys } from "./keys.js";
import { LayerPanel } from "./layer-panel.js";
import { loadLayers } from "./layers.js";
import { Measuring } from "./measuring.js";
import { figures, showPerformance } from "./performance.js";
import { Picking } from "./picking.js";
import { PointsProfile } from "./points-profile.js";
import { PointsTool } from "./points-tool.js";
import { Search } from "./search.js";
import { Section } from "./section.js";
import { Sharing } from "./sharing.js";
import { Sun } from "./sun.js";
import { Timeline } from "./timeline.js";
import { ToolBar } from "./tools.js";
import { Underground } from "./underground.js";

const BELOW = "#1a2227"; // the colour of what is not there

const MAKERS = {
  bar: ToolBar, cuts: Cuts, highlights: Highlights, drawing: Drawing, colours: ColourTool, points: PointsTool, layers: LayerPanel, picking: Picking,
  search: Search, underground: Underground, section: Section, along: PointsProfile, box: ClipBox, excavation: Excavation, timeline: Timeline, sun: Sun,
  comparison: Comparison, measuring: Measuring, flight: Flight, address: Address, sharing: Sharing,
};

function makeTools(city) {
  for (const [name, Tool] of Object.entries(MAKERS)) city.tools[name] = new Tool(city);
  const { tools, scene } = city;
  // Where the ground is opened the camera may go below, and no sky shines through from the other side of the earth.
  tools.opened = () => {
    const below = Boolean(tools.underground.free || tools.section.at || tools.box.box);
    scene.screenSpaceCameraController.enableCollisionDetection = !below && !tools.excavation.pit;
    scene.skyAtmosphere.show = scene.skyBox.show = !below;
    scene.backgroundColor = below ? Cesium.Color.fromCssColorString(BELOW) : Cesium.Color.BLACK;
    scene.globe.showSkirts = !below;
    scene.globe.showGroundAtmosphere = !below && city.budget.kind !== "software";
  };
  return tools;
}

/** Resolves when everything in view has been loaded; fills `window.chengtuScene` as soon as there is a globe. */
export async function start() {
  const city = new City(makeGlobe(settings.bounds), settings);
  const { widget, scene } = city;
  if (settings.bounds) homeView(scene.camera, settings.bounds);
  const tools = makeTools(city);
  city.layers = await loadLayers(settings.layers, city);
  for (const layer of city.layers) if (layer.fields?.ids.length) city.emit("learned", layer);
  await tools.address.begin();

  const home = () => {
    if (tools.underground.on) tools.underground.set(0);
    if (settings.bounds) homeView(scene.camera, settings.bounds, reducedMotion ? 0 : 1.5);
  };
  const toggleUnderground = () => tools.underground.toggle();
  document.getElementById("view-underground").addEventListener("click", toggleUnderground);
  document.getElementById("view-home").addEventListener("click", home);
  addKeys(widget, { home, underground: toggleUnderground, pick: () => tools.picking.pickCentre() });
  if (!matchMedia("(max-width: 40rem)").matches) tools.bar.open("layers");
  if (new URLSearchParams(location.search).has("debug")) showPerformance(city);

  const whenSettled = () => settled(widget, () => city.tilesets);
  Object.assign(window.chengtuScene, {
    Cesium, city, widget, tools, home,
    layers: city.layers,
    setUnderground: (on) => on !== tools.underground.on && toggleUnderground(),
    setVisible: (id, on) => tools.layers.set(id, on),
    pick: (x, y) => tools.picking.pick(x, y),
    pickAll: (x, y) => tools.picking.pickAll(x, y),
    state: () => tools.address.state(),
    restore: (hash) => tools.address.restore(hash),
    figures: () => figures(city),
    settled: whenSettled,
  });
  await whenSettled();
  if (city.status.dataset.loading) city.say(tools.layers.summary());
}

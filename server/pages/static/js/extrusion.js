// The view for light devices: MapLibre with footprints raised to their heights, over vector tiles of the same collections.

import { start } from "./extrusion/main.js";

window.chengtuScene = { ready: start() };

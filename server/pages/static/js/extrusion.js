// The view for light devices: MapLibre with footprints raised to their heights, over vector tiles of the same collections.

import { keepStateInLanguageLinks } from "./scene/languages.js";
import { start } from "./extrusion/main.js";

keepStateInLanguageLinks();
window.chengtuScene = { ready: start() };

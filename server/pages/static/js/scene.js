// The 3D scene of a city: CesiumJS over this server's own 3D Tiles, terrain and map tiles; nothing from elsewhere.
//
// `window.chengtuScene` is for tests and for the curious: `ready` resolves when all that is in view has been loaded,
// `settled()` does so again after a move, `setUnderground(on)`, `setVisible(id, on)` and `pick(x, y)` do what the tools do.

import { mapSettings as settings } from "./page.js";
import { keepStateInLanguageLinks } from "./scene/languages.js";
import { isWeak } from "./scene/weak.js";
import { text } from "./scene/texts.js";

window.CESIUM_BASE_URL = settings.cesiumBase;

/** Knockout, inside Cesium's bundle, evaluates the text "this" while it loads, to find the window. The page's policy
 * forbids evaluating text, rightly: so for that moment this one question is answered without it. */
async function loadCesium() {
  const evaluate = window.eval;
  window.eval = (words) => (words === "this" ? window : evaluate(words));
  try {
    await import("cesium");
  } finally {
    window.eval = evaluate;
  }
}

async function boot() {
  // A device too weak for the scene gets the light view of the same place; `?full` insists.
  if (!new URLSearchParams(location.search).has("full") && isWeak()) {
    location.replace(`${settings.extrusion}?light=1${location.hash}`);
    return;
  }
  try {
    await loadCesium();
    const { start } = await import("./scene/main.js");
    await start();
  } catch (error) {
    document.getElementById("scene-status").textContent = text("failed", { what: error.message });
    throw error;
  }
}

keepStateInLanguageLinks();
window.chengtuScene = { ready: boot() };

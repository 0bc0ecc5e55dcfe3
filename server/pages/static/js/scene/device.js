// How much a device is asked to draw and to keep. A wall screen gets all, a phone less, a machine without graphics card the least.

/** The graphics card as WebGL names it; empty where it does not tell. */
function renderer(scene) {
  const gl = scene.context._gl;
  const details = gl.getExtension("WEBGL_debug_renderer_info");
  return details === null ? "" : gl.getParameter(details.UNMASKED_RENDERER_WEBGL);
}

const BUDGETS = {
  // Pixels of error that a tile may show (a building that is missing is an error as large as itself), megabytes of tiles kept and
  // on top of it while all are in view, samples a pixel. Measured in decision 23.
  software: { error: 16, points: 24, terrain: 4, cache: 256, overflow: 128, samples: 1, shadows: 1024 },
  phone: { error: 16, points: 20, terrain: 3, cache: 192, overflow: 96, samples: 1, shadows: 1024 },
  desktop: { error: 8, points: 12, terrain: 2, cache: 768, overflow: 512, samples: 4, shadows: 2048 },
};

/** The budget of this device with its `kind`. */
export function budgetOf(scene) {
  const memory = navigator.deviceMemory ?? 8;
  const software = /swiftshader|llvmpipe|software|basic render/i.test(renderer(scene));
  const small = matchMedia("(pointer: coarse)").matches && Math.min(screen.width, screen.height) < 800;
  const kind = software ? "software" : small || memory < 4 ? "phone" : "desktop";
  return { kind, ...BUDGETS[kind] };
}

/** A coarser picture that still moves: a third of the pixels, plainer depth and air. */
export function beFrugal(widget) {
  const { scene } = widget;
  widget.useBrowserRecommendedResolution = false;
  widget.resolutionScale = 0.6 / window.devicePixelRatio;
  scene.logarithmicDepthBuffer = false;
  scene.globe.showGroundAtmosphere = false;
  scene.fog.enabled = false;
}

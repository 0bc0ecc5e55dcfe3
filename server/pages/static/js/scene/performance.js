// How fast the scene is: frames, tiles, memory; shown where the address has ?debug.

const EVERY_MS = 500;

/** What a benchmark reads: counts of all tilesets together, bytes they hold. */
export function figures(city) {
  const sums = { tiles: 0, features: 0, loading: 0, bytes: 0, triangles: 0 };
  for (const tileset of city.tilesets) {
    const { statistics } = tileset;
    sums.tiles += statistics.selected;
    sums.features += statistics.numberOfFeaturesSelected;
    sums.triangles += statistics.numberOfTrianglesSelected;
    sums.loading += statistics.numberOfPendingRequests + statistics.numberOfTilesProcessing;
    sums.bytes += tileset.totalMemoryUsageInBytes;
  }
  return sums;
}

export function showPerformance(city) {
  const element = document.getElementById("scene-performance");
  element.hidden = false;
  const times = [];
  let started = 0;
  city.scene.preUpdate.addEventListener(() => (started = performance.now()));
  city.scene.postRender.addEventListener(() => {
    times.push(performance.now() - started);
    if (times.length > 120) times.shift();
  });
  setInterval(() => {
    const { tiles, features, loading, bytes, triangles } = figures(city);
    const sorted = [...times].sort((a, b) => a - b);
    const at = (part) => (sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))].toFixed(1) : "–");
    const heap = performance.memory ? ` heap ${(performance.memory.usedJSHeapSize / 2 ** 20).toFixed(0)} MB` : "";
    element.textContent = `${city.budget.kind} · frame ${at(0.5)} ms (95 %: ${at(0.95)}) · tiles ${tiles} (+${loading}) · features ${features} · triangles ${triangles} · tiles ${(bytes / 2 ** 20).toFixed(0)} MB${heap}`;
  }, EVERY_MS);
}

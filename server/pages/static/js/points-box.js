// The box of a download on the map.

import { EMPTY, rectangle } from "./map.js";
import { colour } from "./page.js";

/** Draw a box on a map; gives a function that shows another one. */
export function addBox(map) {
  map.addSource("download-box", { type: "geojson", data: EMPTY });
  map.addLayer({ id: "download-box", type: "line", source: "download-box", paint: { "line-color": colour("map-select"), "line-width": 2 } });
  return (box) => {
    const whole = box.every(Number.isFinite) && box[0] < box[2] && box[1] < box[3];
    map.getSource("download-box").setData(whole ? { ...EMPTY, features: [rectangle(box, {})] } : EMPTY);
  };
}

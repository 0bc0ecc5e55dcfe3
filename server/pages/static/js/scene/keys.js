// The scene by keyboard. Keys act while the globe has the focus, so that they never take a letter from a form.

import * as Cesium from "cesium";

const TURN = Cesium.Math.toRadians(4);

/** The point in the middle of the view, and how far it is; a point ahead where the view meets no ground. */
function target({ camera, scene }) {
  const middle = new Cesium.Cartesian2(scene.canvas.clientWidth / 2, scene.canvas.clientHeight / 2);
  const ray = camera.getPickRay(middle);
  const ground = ray && scene.globe.pick(ray, scene);
  const distance = ground ? Cesium.Cartesian3.distance(camera.positionWC, ground) : 500;
  const point = ground ?? Cesium.Cartesian3.add(camera.positionWC, Cesium.Cartesian3.multiplyByScalar(camera.directionWC, distance, new Cesium.Cartesian3()), new Cesium.Cartesian3());
  return { point, distance };
}

/** Turn the camera about the middle of the view. */
function orbit(widget, heading, pitch) {
  const { camera } = widget;
  const { point, distance } = target(widget);
  const steep = Cesium.Math.clamp(camera.pitch + pitch, Cesium.Math.toRadians(-89), Cesium.Math.toRadians(80));
  camera.lookAt(point, new Cesium.HeadingPitchRange(camera.heading + heading, steep, distance));
  camera.lookAtTransform(Cesium.Matrix4.IDENTITY);
}

/** Move along the ground: `forward` and `right` are parts of the distance looked over. */
function slide(widget, forward, right) {
  const { camera } = widget;
  const { distance } = target(widget);
  const up = Cesium.Ellipsoid.WGS84.geodeticSurfaceNormal(camera.positionWC, new Cesium.Cartesian3());
  const ahead = Cesium.Cartesian3.cross(up, camera.rightWC, new Cesium.Cartesian3());
  camera.move(ahead, forward * distance);
  camera.move(camera.rightWC, right * distance);
}

function zoom(widget, part) {
  widget.camera.moveForward(target(widget).distance * part);
}

export function addKeys(widget, { home, underground, pick }) {
  const actions = {
    ArrowUp: () => slide(widget, 0.08, 0),
    ArrowDown: () => slide(widget, -0.08, 0),
    ArrowLeft: () => slide(widget, 0, -0.08),
    ArrowRight: () => slide(widget, 0, 0.08),
    "+": () => zoom(widget, 0.2),
    "=": () => zoom(widget, 0.2),
    "-": () => zoom(widget, -0.25),
    a: () => orbit(widget, -TURN, 0),
    d: () => orbit(widget, TURN, 0),
    w: () => orbit(widget, 0, TURN),
    s: () => orbit(widget, 0, -TURN),
    h: home,
    u: underground,
    Enter: pick,
  };
  document.getElementById("globe").addEventListener("keydown", (event) => {
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    action();
    widget.scene.requestRender();
  });
}

// What the graphics card does beside its usual work with things that are buried.

import * as Cesium from "cesium";

/** What is buried shines by itself, for no sun reaches it. */
const glow = () => new Cesium.CustomShader({ lightingModel: Cesium.LightingModel.UNLIT });

// Volumes of soil reach up to the ground, which far away is drawn coarser than they are: their lids would come through it. The
// normal is that of the triangle as it is seen, so that meshes without normals do as well. As in
// drawn sections, no light falls on them.
const LIDLESS = `
  void fragmentMain(FragmentInput fsInput, inout czm_modelMaterial material) {
    vec3 up = (czm_view * vec4(normalize(fsInput.attributes.positionWC), 0.0)).xyz;
    vec3 seen = normalize(cross(dFdx(fsInput.attributes.positionEC), dFdy(fsInput.attributes.positionEC)));
    if (gl_FrontFacing && dot(seen, up) > 0.6) discard;
  }`;
const lidless = () => new Cesium.CustomShader({ lightingModel: Cesium.LightingModel.UNLIT, fragmentShaderText: LIDLESS });

/** The shader of a layer's tilesets, undefined for the usual one; `glass`: the ground is seen through. */
export function shaderOf({ group, settings }, glass) {
  if (group === "underground" && glass) return glow();
  return settings.solid ? lidless() : undefined;
}

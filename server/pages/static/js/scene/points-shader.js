// The shader of a point cloud: colours by what a point carries, and points left out, at once and without a new tile.
//
// Tiles carry the attributes of LAS as property attributes (EXT_structural_metadata). A style of CesiumJS would be compiled anew at
// every change; here a change is a number or a small texture. Points that are left out are discarded, so that they are not picked either.

import * as Cesium from "cesium";
import { OTHER, PALETTE, RAMPS, channels, rampAt } from "./colours.js";
import { colourOfClass } from "./points-classes.js";

const STEPS = 256;
const OWN = 0;
const SINGLE = 1;
const TABLE = 2;
const SCALE = 3;
const LIFT = 0.003; // of the distance to the camera

const lifted = new WeakSet();

/** The place of a point that was picked: shaders draw points nearer to the camera than they are (see FORWARD). */
export function unlifted(tileset, place, camera) {
  if (!lifted.has(tileset)) return place;
  const away = Cesium.Cartesian3.subtract(place, camera.positionWC, new Cesium.Cartesian3());
  return Cesium.Cartesian3.add(camera.positionWC, Cesium.Cartesian3.divideByScalar(away, 1 - LIFT, away), away);
}

/** The name under which CesiumJS gives an attribute of a glTF ("_RETURNNUMBER") to a shader. */
const variable = (attribute) => attribute.replace(/^_/, "").toLowerCase();

/** {id: {name in a shader, offset, scale}} of the property attributes of a loaded tile; empty where it has none. */
export function attributesOf(content) {
  const parts = content?.innerContents ?? [content];
  const found = parts.flatMap((part) => part?._model?.structuralMetadata?.propertyAttributes ?? []);
  return Object.fromEntries(
    found.flatMap(({ properties }) =>
      Object.entries(properties).map(([id, one]) => {
        const { offset = 0, scale = 1 } = one.classProperty ?? {};
        return [id.toLowerCase() === "classification" ? "Classification" : id, { name: variable(one.attribute), offset: Number(offset), scale: Number(scale) }];
      }),
    ),
  );
}

// The height above the ellipsoid from the place seen from the camera: exact to centimetres as far as a city is seen, where a position
// from the middle of the earth would have steps of half a metre.
const HEIGHT = `
  float heightOf(vec3 positionEC) {
    float up = dot(positionEC, czm_eyeEllipsoidNormalEC);
    float away = max(dot(positionEC, positionEC) - up * up, 0.0);
    float radius = 6371000.0 + czm_eyeHeight + up;
    return czm_eyeHeight + up + away / (sqrt(radius * radius + away) + radius);
  }`;

// Points of roofs and of the ground lie in the surfaces that are drawn of them: half of them would be hidden, in specks. So each is
// drawn a little nearer on its way to the camera, at the same place on the screen. A shader of the reader's own has to set the size of
// points too: it asks the one that CesiumJS has for attenuation.
const FORWARD = `
  void vertexMain(VertexInput vsInput, inout czm_modelVertexOutput vsOutput) {
    vec3 place = vsInput.attributes.positionMC;
    vec3 eye = (czm_inverseModelView * vec4(0.0, 0.0, 0.0, 1.0)).xyz;
    vsOutput.positionMC = mix(place, eye, ${LIFT});
    vsOutput.pointSize = getPointSizeFromAttenuation((czm_modelView * vec4(place, 1.0)).xyz);
  }`;

function textOf(attributes) {
  const raw = (id) => (attributes[id] ? `fsInput.attributes.${attributes[id].name}` : null);
  const coded = raw("Classification");
  const time = raw("GpsTime");
  const values = Object.keys(attributes).map((id, place) => `if (u_field == ${place + 1}) value = ${raw(id)};`);
  return `${HEIGHT}
  void fragmentMain(FragmentInput fsInput, inout czm_modelMaterial material) {
    ${coded ? `if (texture(u_classes, vec2((floor(${coded} + 0.5) + 0.5) / 256.0, 0.5)).a < 0.5) discard;` : ""}
    ${time ? `if (${time} < u_times.x || ${time} > u_times.y) discard;` : ""}
    float value = 0.0;
    if (u_field == 0) value = heightOf(fsInput.attributes.positionEC / ${1 - LIFT});
    ${values.join("\n    ")}
    if (u_mode == ${SINGLE}) material.diffuse = czm_srgbToLinear(u_single);
    else if (u_mode == ${TABLE}) material.diffuse = czm_srgbToLinear(texture(u_colours, vec2((mod(floor(value + 0.5), 256.0) + 0.5) / 256.0, 0.5)).rgb);
    else if (u_mode == ${SCALE}) material.diffuse = czm_srgbToLinear(texture(u_colours, vec2((clamp((value - u_range.x) / (u_range.y - u_range.x), 0.0, 1.0) * 255.0 + 0.5) / 256.0, 0.5)).rgb);
    material.alpha = u_alpha;
  }`;
}

/** A texture of 256 colours: `colour(step)` gives [red, green, blue, alpha]. */
function strip(colour) {
  const typedArray = new Uint8Array(4 * STEPS);
  for (let step = 0; step < STEPS; step += 1) typedArray.set(colour(step), 4 * step);
  const plain = { minificationFilter: Cesium.TextureMinificationFilter.NEAREST, magnificationFilter: Cesium.TextureMagnificationFilter.NEAREST };
  return new Cesium.TextureUniform({ typedArray, width: STEPS, height: 1, repeat: false, ...plain });
}

const opaque = (css) => [...channels(css), 255];

/** The 256 colours of a colouring: of categories by their number, of a scale from low to high. */
function coloursOf({ mode, field, ramp }) {
  if (mode === "number") return strip((step) => (RAMPS[ramp] ? [...rampAt(ramp, step / (STEPS - 1)), 255] : [step, step, step, 255]));
  if (field === "Classification") return strip((code) => opaque(colourOfClass(code)));
  return strip((value) => opaque(value === 0 ? OTHER : PALETTE[(value - 1) % PALETTE.length]));
}

export class PointShader {
  /** `attributes` as attributesOf gives them; `opaque`: whether nothing shines through. */
  constructor(attributes, isOpaque) {
    this.attributes = attributes;
    this.isOpaque = isOpaque;
    this.fields = ["height", ...Object.keys(attributes)];
    const { UniformType: type } = Cesium;
    this.shader = new Cesium.CustomShader({
      lightingModel: Cesium.LightingModel.UNLIT,
      translucencyMode: isOpaque ? Cesium.CustomShaderTranslucencyMode.OPAQUE : Cesium.CustomShaderTranslucencyMode.TRANSLUCENT,
      vertexShaderText: FORWARD,
      fragmentShaderText: textOf(attributes),
      uniforms: {
        u_mode: { type: type.INT, value: OWN },
        u_field: { type: type.INT, value: 0 },
        u_single: { type: type.VEC3, value: new Cesium.Cartesian3(1, 1, 1) },
        u_range: { type: type.VEC2, value: new Cesium.Cartesian2(0, 1) },
        u_colours: { type: type.SAMPLER_2D, value: coloursOf({ mode: "number", ramp: "viridis" }) },
        ...(attributes.Classification ? { u_classes: { type: type.SAMPLER_2D, value: strip(() => [255, 255, 255, 255]) } } : {}),
        ...(attributes.GpsTime ? { u_times: { type: type.VEC2, value: new Cesium.Cartesian2(-Infinity, Infinity) } } : {}),
        u_alpha: { type: type.FLOAT, value: 1 },
      },
    });
    this.coloured = "";
    this.left = "";
  }

  /** Draw a tileset by this shader. */
  dress(tileset) {
    if (tileset.customShader === this.shader) return;
    tileset.customShader = this.shader;
    lifted.add(tileset);
  }

  /** The number that a tile holds for a value of an attribute. */
  raw(id, value) {
    const { offset = 0, scale = 1 } = this.attributes[id] ?? {};
    return (value - offset) / scale;
  }

  /** Bring the shader to a colouring (null: the tiles' own), a look (points-look.js) and how clearly the points show (0 to 1). */
  set(colouring, { hidden, from, until }, alpha) {
    const { shader } = this;
    const field = this.fields.indexOf(colouring?.field ?? "height");
    const known = colouring && field >= 0;
    const mode = { single: SINGLE, category: TABLE, number: SCALE }[colouring?.mode] ?? OWN;
    shader.setUniform("u_mode", colouring?.mode === "single" || known ? mode : OWN);
    shader.setUniform("u_field", Math.max(field, 0));
    shader.setUniform("u_alpha", alpha);
    if (mode === SINGLE) {
      const { red, green, blue } = Cesium.Color.fromCssColorString(colouring.colour);
      shader.setUniform("u_single", new Cesium.Cartesian3(red, green, blue));
    }
    if (mode === SCALE && known) shader.setUniform("u_range", new Cesium.Cartesian2(this.raw(colouring.field, colouring.low), this.raw(colouring.field, colouring.high)));
    if (mode === TABLE || mode === SCALE) this.colour(colouring);
    if (this.attributes.Classification) this.leaveOut(hidden);
    if (this.attributes.GpsTime) {
      const at = (value, open) => (value === null ? open : this.raw("GpsTime", value));
      shader.setUniform("u_times", new Cesium.Cartesian2(at(from, -3.4e38), at(until, 3.4e38)));
    }
  }

  colour(colouring) {
    const wanted = `${colouring.mode} ${colouring.field} ${colouring.ramp ?? ""}`;
    if (wanted === this.coloured) return;
    this.coloured = wanted;
    this.shader.setUniform("u_colours", coloursOf(colouring));
  }

  leaveOut(hidden) {
    const wanted = hidden.join(" ");
    if (wanted === this.left) return;
    this.left = wanted;
    this.shader.setUniform("u_classes", strip((code) => [255, 255, 255, hidden.includes(code) ? 0 : 255]));
  }
}

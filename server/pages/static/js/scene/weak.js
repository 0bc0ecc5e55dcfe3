// Whether a device is too weak for the full scene: no WebGL 2, small textures, or hardly any memory.

const SMALLEST_TEXTURE = 4096;
const LEAST_MEMORY = 2; // gigabytes, as far as browsers tell

export function isWeak() {
  const gl = document.createElement("canvas").getContext("webgl2");
  if (!gl || (navigator.deviceMemory ?? LEAST_MEMORY + 1) < LEAST_MEMORY) return true;
  const weak = gl.getParameter(gl.MAX_TEXTURE_SIZE) < SMALLEST_TEXTURE;
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return weak;
}

// The groups of layers, from the sky to the bedrock.
export const GROUPS = ["above", "surface", "underground", "points", "imagery", "terrain"];

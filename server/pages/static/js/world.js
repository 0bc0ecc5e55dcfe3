// A world to look at without any network: the relief tiles that come with Cesium (plate carrée, levels 0 to 2), redrawn
// row by row into the Mercator tiles that MapLibre wants. Good up to about zoom 6; city data take over from there.

const SIZE = 256;
const DEEPEST = 2;

const latitude = (y, rows) => (Math.atan(Math.sinh(Math.PI * (1 - (2 * y) / rows))) * 180) / Math.PI;

async function picture(base, level, column, row) {
  const response = await fetch(`${base}${level}/${column}/${row}.jpg`);
  if (!response.ok) throw new Error(`world relief: ${response.status}`);
  return createImageBitmap(await response.blob());
}

/** The Mercator tile z/x/y (z from 1 to 3) as an ImageBitmap. Column x spans exactly column x of level z - 1. */
async function mercatorTile(base, z, x, y) {
  const level = Math.min(z - 1, DEEPEST);
  const rows = 2 ** level;
  const degrees = 180 / rows;
  const canvas = new OffscreenCanvas(SIZE, SIZE);
  const context = canvas.getContext("2d");
  const sources = new Map();
  const scale = 2 ** z;
  for (let line = 0; line < SIZE; line += 1) {
    const fromSouth = latitude(y + (line + 0.5) / SIZE, scale) + 90;
    const row = Math.min(rows - 1, Math.floor(fromSouth / degrees));
    if (!sources.has(row)) sources.set(row, await picture(base, level, x, row));
    const source = sources.get(row);
    const inside = 1 - (fromSouth - row * degrees) / degrees;
    const from = Math.min(source.height - 1, Math.floor(inside * source.height));
    context.drawImage(source, 0, from, source.width, 1, 0, line, SIZE, 1);
  }
  return canvas.transferToImageBitmap();
}

/** Teach MapLibre the addresses `world://z/x/y`. */
export function addWorldProtocol(maplibre, base) {
  maplibre.addProtocol("world", async ({ url }) => {
    const [z, x, y] = url.slice("world://".length).split("/").map(Number);
    return { data: await mercatorTile(base, z, x, y) };
  });
}

export const worldSource = { type: "raster", tiles: ["world://{z}/{x}/{y}"], tileSize: 256, minzoom: 1, maxzoom: 3 };

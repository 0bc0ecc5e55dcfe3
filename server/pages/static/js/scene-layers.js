// Makes the layers of the scene; one that fails leaves the others standing, and says so in the list.

import * as Cesium from "cesium";

const absolute = (address) => new URL(address, location.origin).href.replaceAll("%7B", "{").replaceAll("%7D", "}");

const PIPES = "color('#ff9d2e')"; // no ground, roof or tree has this colour

async function addTileset(widget, layer) {
  const tileset = await Cesium.Cesium3DTileset.fromUrl(absolute(layer.settings.url), {
    maximumScreenSpaceError: layer.settings.content === "points" ? 12 : 16,
    skipLevelOfDetail: false,
  });
  if (layer.settings.content === "points") {
    tileset.pointCloudShading = new Cesium.PointCloudShading({ attenuation: true, maximumAttenuation: 4, eyeDomeLighting: false });
  }
  if (layer.settings.content === "pipes") {
    tileset.style = new Cesium.Cesium3DTileStyle({ color: PIPES });
    tileset.colorBlendMode = Cesium.Cesium3DTileColorBlendMode.REPLACE;
  }
  tileset.tileFailed.addEventListener(({ url, message: reason }) => console.warn(`tile ${url}: ${reason}`));
  layer.tileset = widget.scene.primitives.add(tileset);
  layer.show = (on) => {
    tileset.show = on;
  };
}

function addImagery(widget, layer) {
  const provider = new Cesium.UrlTemplateImageryProvider({
    url: absolute(layer.settings.url),
    rectangle: Cesium.Rectangle.fromDegrees(...layer.settings.bounds),
    maximumLevel: 20,
    hasAlphaChannel: true,
    enablePickFeatures: false,
  });
  layer.imagery = widget.scene.imageryLayers.addImageryProvider(provider);
  layer.show = (on) => {
    layer.imagery.show = on;
  };
}

async function addTerrain(widget, layer) {
  const provider = await Cesium.CesiumTerrainProvider.fromUrl(absolute(layer.settings.url), { requestVertexNormals: true });
  const flat = new Cesium.EllipsoidTerrainProvider();
  layer.show = (on) => {
    widget.scene.terrainProvider = on ? provider : flat;
  };
}

const MAKERS = { tileset: addTileset, imagery: addImagery, terrain: addTerrain };

/** Layer objects in the order of `list`: {settings, visible, failed, show(on), tileset?, imagery?}. */
export async function loadLayers(widget, list) {
  const layers = list.map((settings) => ({ settings, visible: settings.visible, failed: false, show: () => {} }));
  await Promise.all(
    layers.map(async (layer) => {
      try {
        await MAKERS[layer.settings.type](widget, layer);
        layer.show(layer.visible);
      } catch (error) {
        layer.failed = true;
        layer.visible = false;
        console.warn(`layer ${layer.settings.id}: ${error.message ?? error}`);
      }
    }),
  );
  return layers;
}

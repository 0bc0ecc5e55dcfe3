// Reads a whole I3S scene layer with @loaders.gl/i3s: every node of the pages, every geometry, texture and attribute.
//   node tests/clients/i3s_read.mjs LAYER_URL FOLDER
// Writes ECEF positions of each node to FOLDER/NODE.f64 and prints the nodes as JSON.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { load } from '@loaders.gl/core'
import { I3SAttributeLoader, I3SContentLoader, I3SLoader } from '@loaders.gl/i3s'

const [url, folder] = process.argv.slice(2)
const options = { worker: false, i3s: { useDracoGeometry: false, useCompressedTextures: false, decodeTextures: false } }
const tileset = await load(url, I3SLoader, { ...options, i3s: { ...options.i3s, isTileset: true } })
const pages = tileset.nodePagesTile
const found = []
const waiting = [0]
while (waiting.length) {
  const id = waiting.pop()
  const header = await pages.formTileFromNodePages(id)
  waiting.push(...header.children.map((child) => Number(child.id)))
  const node = {
    id, mbs: header.mbs, leaf: header.children.length === 0, children: header.children.map((child) => Number(child.id)),
    lodSelection: header.lodSelection, material: header.materialDefinition ?? null,
  }
  found.push(node)
  if (!header.contentUrl) continue
  const content = await load(header.contentUrl, I3SContentLoader, {
    ...options,
    i3s: {
      ...options.i3s, tileset, tile: header,
      _tileOptions: {
        attributeUrls: header.attributeUrls, textureUrl: header.textureUrl, textureFormat: header.textureFormat,
        textureLoaderOptions: header.textureLoaderOptions, materialDefinition: header.materialDefinition,
        isDracoGeometry: header.isDracoGeometry, mbs: header.mbs,
      },
      _tilesetOptions: { store: tileset.store, attributeStorageInfo: tileset.attributeStorageInfo, fields: tileset.fields },
    },
  })
  const { positions, normals, colors, texCoords } = content.attributes
  writeFileSync(join(folder, `${id}.f64`), new Uint8Array(positions.value.buffer))
  node.vertexCount = content.vertexCount
  node.sizes = [positions, normals, colors, texCoords].map((one) => one.value.length / one.size)
  node.alphas = [...new Set(colors.value.filter((_, index) => index % 4 === 3))]
  node.colours = new Set(Array.from({ length: colors.value.length / 4 }, (_, n) => colors.value.slice(4 * n, 4 * n + 3).join())).size
  node.featureIds = [...new Set(content.featureIds)]
  node.texture = content.material?.pbrMetallicRoughness?.baseColorTexture?.texture?.source?.image?.byteLength ?? 0
  node.attributes = {}
  for (const [number, info] of tileset.attributeStorageInfo.entries()) {
    const type = info.objectIds ? 'Oid32' : info.attributeValues.valueType
    const read = await load(header.attributeUrls[number], I3SAttributeLoader, { ...options, attributeName: info.name, attributeType: type })
    node.attributes[info.name] = Array.from(read[info.name])
  }
}
console.log(JSON.stringify({ name: tileset.name ?? null, fields: tileset.fields, nodes: found }))

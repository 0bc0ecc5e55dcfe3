// Reads a COPC file by npm `copc` and prints what it holds as JSON.
//   node tests/clients/copc_read.mjs URL-or-path [--decode]
// A URL is read by HTTP range requests. Without --decode only the header and the hierarchy are read.
import { Copc } from 'copc'

const [source, flag] = process.argv.slice(2)
if (!source) {
  console.error('usage: node copc_read.mjs URL-or-path [--decode]')
  process.exit(2)
}

// A getter of our own: it refuses a server that ignores the range, which the library would not notice.
const ranges = async (begin, end) => {
  const response = await fetch(source, { headers: { Range: `bytes=${begin}-${end - 1}` } })
  if (response.status !== 206) throw new Error(`range request answered with status ${response.status}`)
  const bytes = new Uint8Array(await response.arrayBuffer())
  if (bytes.length !== end - begin) throw new Error(`asked for ${end - begin} bytes, got ${bytes.length}`)
  return bytes
}

const getter = /^https?:/.test(source) ? ranges : source
const copc = await Copc.create(getter)
const pages = [copc.info.rootHierarchyPage]
const nodes = {}
while (pages.length) {
  const { nodes: found, pages: more } = await Copc.loadHierarchyPage(getter, pages.pop())
  Object.assign(nodes, found)
  pages.push(...Object.values(more))
}

const classes = {}
let decoded = 0
if (flag === '--decode') {
  for (const node of Object.values(nodes)) {
    if (!node.pointCount) continue
    const view = await Copc.loadPointDataView(getter, copc, node, { include: ['Classification', 'X', 'Y', 'Z'] })
    const classification = view.getter('Classification')
    for (let index = 0; index < view.pointCount; index++) {
      const code = classification(index)
      classes[code] = (classes[code] ?? 0) + 1
    }
    decoded += view.pointCount
  }
}

console.log(
  JSON.stringify({
    pointCount: copc.header.pointCount,
    pointFormat: copc.header.pointDataRecordFormat,
    bbox: [...copc.header.min, ...copc.header.max],
    cube: copc.info.cube,
    spacing: copc.info.spacing,
    gpsTimeRange: copc.info.gpsTimeRange,
    wkt: copc.wkt ?? null,
    extraBytes: copc.eb.map((dimension) => dimension.name),
    nodes: Object.keys(nodes).length,
    nodePoints: Object.values(nodes).reduce((sum, node) => sum + node.pointCount, 0),
    decoded,
    classes,
  }),
)

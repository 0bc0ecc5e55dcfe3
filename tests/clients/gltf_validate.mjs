// Validates every .glb and .gltf below the given files and folders by Khronos' gltf-validator, and those inside .b3dm, .i3dm and
// .cmpt; prints a JSON summary.
//   node tests/clients/gltf_validate.mjs PATH...
// Exits with 1 if there is an error.
import { readFileSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import validator from 'gltf-validator'

const files = (path) =>
  statSync(path).isDirectory()
    ? readdirSync(path).flatMap((name) => files(join(path, name)))
    : /\.(glb|gltf|b3dm|i3dm|cmpt)$/.test(path)
      ? [path]
      : []

// The glTFs in the content of a tile (3D Tiles 1.0, clauses of Batched, Instanced and Composite 3D Model).
const models = (bytes) => {
  const magic = Buffer.from(bytes.subarray(0, 4)).toString('latin1')
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (magic === 'cmpt') {
    const inner = []
    for (let number = 0, at = 16; number < view.getUint32(12, true); number += 1) {
      const length = view.getUint32(at + 8, true)
      inner.push(...models(bytes.subarray(at, at + length)))
      at += length
    }
    return inner
  }
  if (magic !== 'b3dm' && magic !== 'i3dm') return [bytes]
  const start = [12, 16, 20, 24].reduce((sum, at) => sum + view.getUint32(at, true), magic === 'b3dm' ? 28 : 32)
  const glb = bytes.subarray(start)
  // Tiles are padded to 8 bytes, which a glb need not be.
  return [glb.subarray(0, new DataView(glb.buffer, glb.byteOffset).getUint32(8, true))]
}

const summary = { files: 0, errors: 0, warnings: 0, messages: {} }
for (const file of process.argv.slice(2).flatMap(files)) {
  summary.files += 1
  for (const model of models(new Uint8Array(readFileSync(file)))) {
    const { issues } = await validator.validateBytes(model, { uri: file })
    summary.errors += issues.numErrors
    summary.warnings += issues.numWarnings
    for (const { code, message, severity } of issues.messages) {
      if (severity > 1) continue
      const key = `${code}: ${message}`
      summary.messages[key] = (summary.messages[key] ?? 0) + 1
    }
  }
}
console.log(JSON.stringify(summary))
process.exit(summary.errors ? 1 : 0)

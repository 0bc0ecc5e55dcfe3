// Validates every .glb and .gltf below the given files and folders by Khronos' gltf-validator; prints a JSON summary.
//   node tests/clients/gltf_validate.mjs PATH...
// Exits with 1 if there is an error.
import { readFileSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import validator from 'gltf-validator'

const files = (path) =>
  statSync(path).isDirectory()
    ? readdirSync(path).flatMap((name) => files(join(path, name)))
    : /\.(glb|gltf)$/.test(path)
      ? [path]
      : []

const summary = { files: 0, errors: 0, warnings: 0, messages: {} }
for (const file of process.argv.slice(2).flatMap(files)) {
  const { issues } = await validator.validateBytes(new Uint8Array(readFileSync(file)), { uri: file })
  summary.files += 1
  summary.errors += issues.numErrors
  summary.warnings += issues.numWarnings
  for (const { code, message, severity } of issues.messages) {
    if (severity > 1) continue
    const key = `${code}: ${message}`
    summary.messages[key] = (summary.messages[key] ?? 0) + 1
  }
}
console.log(JSON.stringify(summary))
process.exit(summary.errors ? 1 : 0)

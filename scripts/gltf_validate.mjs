// Runs Khronos' glTF validator over .glb files and prints one JSON object: {file: [messages of severity error]}.
// Usage: node scripts/gltf_validate.mjs FILE...
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { validateBytes } = createRequire(import.meta.url)("gltf-validator");
const ERROR = 0;

const found = {};
for (const file of process.argv.slice(2)) {
  const report = await validateBytes(new Uint8Array(readFileSync(file)), { maxIssues: 1000 });
  found[file] = report.issues.messages
    .filter((message) => message.severity === ERROR)
    .map((message) => `${message.code} ${message.pointer ?? ""}: ${message.message}`);
}
console.log(JSON.stringify(found));

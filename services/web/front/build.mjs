// Makes services/web/bundle of the sources: `npm ci && npm run build`, here.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync, readdirSync, mkdirSync, copyFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";

const out = "../bundle";

// The same as in tools/page.py, which looks whether the bundle is stale.
function sourcesHash() {
  const files = readdirSync(".", { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => !path.startsWith("node_modules"))
    .sort();
  const hash = createHash("sha256");
  for (const path of files) hash.update(`${path}\n${createHash("sha256").update(readFileSync(path)).digest("hex")}\n`);
  return hash.digest("hex");
}

mkdirSync(out, { recursive: true });
await build({
  entryPoints: { page: "src/main.tsx" },
  outdir: out,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  banner: { js: `/* sources: ${sourcesHash()} */` },
  legalComments: "none",
});
copyFileSync("src/index.html", join(out, "index.html"));
writeFileSync(join(out, "licenses.txt"), `page.js contains Preact.\n\n${readFileSync("node_modules/preact/LICENSE", "utf8")}`);

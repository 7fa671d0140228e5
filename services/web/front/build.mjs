// Makes services/web/bundle of the sources: `npm ci && npm run build`, here.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync, readdirSync, mkdirSync, copyFileSync, rmSync } from "node:fs";
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

// What was built before may have had other pieces.
rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
await build({
  entryPoints: { page: "src/main.tsx" },
  outdir: out,
  bundle: true,
  minify: true,
  format: "esm",
  // Terminal and plots are pieces of their own, which come when they are first wanted.
  splitting: true,
  chunkNames: "piece-[hash]",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  banner: { js: `/* sources: ${sourcesHash()} */` },
  legalComments: "none",
});
copyFileSync("src/index.html", join(out, "index.html"));
const inside = { preact: "Preact", "@xterm/xterm": "xterm.js", "@xterm/addon-fit": "xterm.js's addon fit", uplot: "uPlot" };
const licenses = Object.entries(inside).map(([name, words]) => `The page contains ${words}.\n\n${readFileSync(`node_modules/${name}/LICENSE`, "utf8").trim()}\n`);
writeFileSync(join(out, "licenses.txt"), licenses.join("\n\n"));

// node build.mjs: dist/ with what the edge serves at /client/… and what the npm package holds.
// node build.mjs --tests FOLDER: the tests, each as one file for Node.js.
import { execFileSync } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { build } from "esbuild";

process.chdir(import.meta.dirname);

const common = { bundle: true, format: "esm", target: "es2022", logLevel: "warning" };

async function buildClient() {
  rmSync("dist", { recursive: true, force: true });
  await build({
    ...common,
    entryPoints: { carillon: "src/index.ts", inbox: "src/inbox.ts", "inbox-element": "src/inbox-element.ts", react: "src/react.ts" },
    // The page's own: two Reacts on a page do not know each other's hooks.
    external: ["react"],
    outdir: "dist",
    minify: true,
    sourcemap: "linked",
    legalComments: "none",
  });
  const tsc = join("node_modules", "typescript", "bin", "tsc");
  execFileSync(process.execPath, [tsc, "-p", "tsconfig.build.json"], { stdio: "inherit" });
}

async function buildTests(outdir) {
  const tests = readdirSync("test").filter((name) => name.endsWith(".ts"));
  const entryPoints = Object.fromEntries(tests.map((name) => [basename(name, ".ts"), join("test", name)]));
  // What the tests bring from npm may be CommonJS, and require modules of Node.js.
  const js = 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);';
  await build({
    ...common,
    entryPoints,
    outdir,
    platform: "node",
    nodePaths: ["test/node_modules"],
    banner: { js },
    sourcemap: "inline",
    outExtension: { ".js": ".mjs" },
  });
}

const [option, folder] = process.argv.slice(2);
await (option === "--tests" ? buildTests(folder) : buildClient());

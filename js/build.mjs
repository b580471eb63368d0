// Builds every entry in src/entries into ../vitwidgets/static/<name>.js, and the stylesheets in
// src/ui into one vitwidgets.css. An entry must stand alone (anywidget evaluates it once per
// widget and stores it in every saved notebook), so: no shared chunks, and a bound on its size.
import { mkdir, readdir, rm, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build, context } from "esbuild";

const LIMIT = 60 * 1024;
const here = fileURLToPath(new URL(".", import.meta.url));
const out = join(here, "../vitwidgets/static");

/** Paths of the files in `folder` that end in `ending`, in name order; none where there is no folder. */
async function list(folder, ending) {
  const names = await readdir(join(here, folder)).catch(() => []);
  return names
    .filter((name) => name.endsWith(ending))
    .sort()
    .map((name) => join(here, folder, name));
}

const entries = (await list("src/entries", ".ts")).filter((path) => !path.endsWith(".test.ts"));
const sheets = await list("src/ui", ".css");
if (entries.length === 0) {
  console.error("nothing to build: js/src/entries holds no .ts file");
  process.exit(1);
}

const common = {
  bundle: true,
  minify: true,
  target: "es2022",
  legalComments: "none",
  charset: "utf8",
  logLevel: "warning",
};
const scripts = { ...common, entryPoints: entries, outdir: out, format: "esm", splitting: false };
const styles = {
  ...common,
  stdin: {
    contents: sheets.map((path) => `@import "./${basename(path)}";`).join("\n"),
    resolveDir: join(here, "src/ui"),
    loader: "css",
  },
  outfile: join(out, "vitwidgets.css"),
};

if (process.argv.includes("--watch")) {
  for (const options of [scripts, styles]) {
    const watched = await context({ ...options, logLevel: "info" });
    await watched.watch();
  }
} else {
  await mkdir(out, { recursive: true });
  await Promise.all([build(scripts), build(styles)]);
  await tidy();
  process.exitCode = await report();
}

/** Removes what an earlier build left of entries that are gone. */
async function tidy() {
  const wanted = new Set(entries.map((path) => `${basename(path, ".ts")}.js`).concat("vitwidgets.css"));
  for (const name of await readdir(out)) {
    if (!wanted.has(name)) await rm(join(out, name), { recursive: true });
  }
}

/** Prints the size of what was built; returns the exit status: 1 where a file is over the limit. */
async function report() {
  let status = 0;
  for (const name of (await readdir(out)).sort()) {
    const { size } = await stat(join(out, name));
    const over = size > LIMIT;
    const verdict = over ? `  over the limit of ${LIMIT / 1024} KB` : "";
    console.log(`${name.padEnd(24)}${(size / 1024).toFixed(1).padStart(7)} KB${verdict}`);
    if (over) status = 1;
  }
  return status;
}

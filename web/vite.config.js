import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { defineConfig } from "vite";

// The libraries in the bundle keep their copyright notices: licenses.txt has that of each.
const licenses = {
  name: "licenses",
  generateBundle(_, bundle) {
    const folders = new Set();
    for (const chunk of Object.values(bundle)) {
      for (const id of Object.keys(chunk.modules ?? {})) {
        const folder = id.match(/^.*\/node_modules\/(@[^/]+\/)?[^/]+/)?.[0];
        if (folder) folders.add(folder);
      }
    }
    const notices = [...folders].sort().map((folder) => {
      const { name, version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
      const file = readdirSync(folder).find((f) => /^licen[cs]e(\.|$)/i.test(f));
      if (!file) throw new Error(`${name} has no license file`);
      return `${name} ${version}\n\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
    });
    const source = `The page of phi3 explore contains these libraries.\n\n${notices.join("\n----\n\n")}`;
    this.emitFile({ type: "asset", fileName: "licenses.txt", source });
  },
};

// The page is one script, one style sheet and one document, with fixed names: the program embeds them, and
// CI compares them with a new build.
export default defineConfig({
  base: "./",
  plugins: [licenses],
  build: {
    outDir: "../internal/serve/page",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    rolldownOptions: {
      output: { entryFileNames: "explore.js", assetFileNames: "explore.[ext]" },
    },
  },
  // npm run dev shows the page without a build; phi3 explore --port 8081 computes what it shows.
  server: { proxy: { "/explore": "http://127.0.0.1:8081" } },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
});

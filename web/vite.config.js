import { defineConfig } from "vite";

// The page is one script, one style sheet and one document, with fixed names: the program embeds them, and
// CI compares them with a new build.
export default defineConfig({
  base: "./",
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
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
});

// The whole grid as one SVG picture, for saving: it needs no style sheet and no page.

import { brief, percent } from "../show";
import { layerName, tokenOf, type Grid } from "./data";
import { shade } from "./grid";

const left = 84; // of the first column, in pixels
const top = 84; // of the first row
const column = 84;
const row = 26;
const family = "system-ui, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif";

/** A picture's colors, as the page has them at this moment: light or dark. */
interface Colors {
  back: string;
  text: string;
  quiet: string;
  accent: string;
  low: string; // of a cell with probability 0
  high: string; // with probability 1
}

function colors(): Colors {
  const probe = document.createElement("span");
  document.body.append(probe);
  const color = (name: string) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  };
  const found = {
    back: color("--back"),
    text: color("--text"),
    quiet: color("--quiet"),
    accent: color("--accent"),
    low: color("--lens-low"),
    high: color("--lens-high"),
  };
  probe.remove();
  return found;
}

type Attributes = Record<string, string | number>;

function add(parent: Element, name: string, attributes: Attributes, content?: string): Element {
  const e = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, `${value}`);
  if (content !== undefined) e.textContent = content;
  parent.append(e);
  return e;
}

/** Cuts a text to a width. The text is plain: a token's signs stand for what cannot be drawn. */
function fit(pen: CanvasRenderingContext2D, content: string, width: number): string {
  if (pen.measureText(content).width <= width) return content;
  const all = [...content];
  while (all.length > 1 && pen.measureText(`${all.join("")}…`).width > width) all.pop();
  return `${all.join("")}…`;
}

export function draw(g: Grid): SVGSVGElement {
  const c = colors();
  const pen = document.createElement("canvas").getContext("2d")!;
  pen.font = `12px ${family}`;
  const width = Math.max(left + g.positions * column + 16, 480);
  const height = top + g.layers * row + 20;
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [key, value] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}` })) {
    svg.setAttribute(key, `${value}`);
  }
  svg.setAttribute("font-family", family);
  svg.setAttribute("font-size", "12");
  const label = (x: number, y: number, content: string, more: Attributes = {}) =>
    add(svg, "text", { x, y, fill: c.text, "unicode-bidi": "isolate", ...more }, content);

  add(svg, "rect", { width, height, fill: c.back });
  label(12, 22, "What the model would say after each layer", { "font-size": 15, "font-weight": 600 });
  legend(svg, c, label);
  const middle = { "text-anchor": "middle" };
  for (let i = 0; i < g.positions; i++) {
    const x = left + (i + 0.5) * column;
    label(x, top - 22, `${g.from + i}`, { ...middle, fill: c.quiet, "font-size": 10 });
    const token = fit(pen, brief(g.text[g.from + i]!, 40), column - 8);
    label(x, top - 7, token, { ...middle, "font-weight": 600 });
  }
  g.rows.forEach((cells, layer) => {
    const y = top + layer * row;
    label(left - 8, y + 17, layerName(layer), { "text-anchor": "end", fill: c.quiet });
    cells.forEach((cell, i) => {
      const best = cell?.top[0];
      if (!best) return;
      const x = left + i * column;
      const final = best.id === g.answers[i]?.id;
      const box = { x: x + 1.5, y: y + 1.5, width: column - 3, height: row - 3, rx: 3 };
      const frame: Attributes = final ? { stroke: c.accent, "stroke-width": 1.5 } : {};
      add(svg, "rect", { ...box, fill: c.low });
      const opacity = shade(best.probability);
      const cover = add(svg, "rect", { ...box, ...frame, fill: c.high, "fill-opacity": opacity });
      add(cover, "title", {}, `${layerName(layer)}, position ${g.from + i}: ${percent(best.probability)}`);
      const content = fit(pen, brief(tokenOf(g, best.id), 40), column - 12);
      label(x + column / 2, y + 17, content, final ? { ...middle, "font-weight": 600 } : middle);
    });
  });
  return svg;
}

function legend(
  svg: Element,
  c: Colors,
  label: (x: number, y: number, content: string, more?: Attributes) => Element,
): void {
  const quiet = { fill: c.quiet, "font-size": 11 };
  label(12, 43, "probability  0%", quiet);
  for (let i = 0; i < 10; i++) {
    const box = { x: 98 + i * 12, y: 33, width: 12, height: 12 };
    add(svg, "rect", { ...box, fill: c.low });
    add(svg, "rect", { ...box, fill: c.high, "fill-opacity": shade((i + 0.5) / 10) });
  }
  label(224, 43, "100%", quiet);
  add(svg, "rect", { x: 270, y: 33, width: 18, height: 12, rx: 3, fill: "none", stroke: c.accent });
  label(294, 43, "what the last layer says", quiet);
}

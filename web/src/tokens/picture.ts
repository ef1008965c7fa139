// The coloured text as an SVG of its own: the page's text is HTML, which flows, and an SVG cannot.

import type { TextToken } from "../api";
import { saveSVG } from "../save";
import { visible, written } from "../show";
import { hue } from "./piece";

const width = 900; // in CSS pixels, as all lengths here
const size = 16;
const line = 30;
const margin = 16;

interface Box {
  token: TextToken;
  position: number;
  text: string;
  x: number;
  y: number;
  width: number;
}

/** Cuts a text into pieces that are not wider than a line. */
function cut(text: string, measure: (text: string) => number): string[] {
  const room = width - 2 * margin;
  if (measure(text) <= room) return [text];
  const pieces: string[] = [];
  let piece = "";
  for (const { segment } of new Intl.Segmenter("en").segment(text)) {
    if (piece !== "" && measure(piece + segment) > room) {
      pieces.push(piece);
      piece = "";
    }
    piece += segment;
  }
  return [...pieces, piece];
}

function layOut(list: TextToken[], measure: (text: string) => number): Box[] {
  const boxes: Box[] = [];
  let x = margin;
  let y = margin;
  list.forEach((token, position) => {
    for (const text of cut(visible(token), measure)) {
      const w = measure(text);
      if (x > margin && x + w > width - margin) {
        x = margin;
        y += line;
      }
      boxes.push({ token, position, text, x, y, width: w });
      x += w + 1;
    }
    const lines = (written(token) ?? "").split("\n").length - 1;
    if (lines > 0) {
      x = margin;
      y += line * lines;
    }
  });
  return boxes;
}

function element(name: string, attributes: Record<string, string | number>): SVGElement {
  const e = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, String(value));
  return e;
}

/** Saves tokens as a picture. prompt is the number of tokens before the branch. */
export function savePicture(list: TextToken[], prompt: number): void {
  const family = getComputedStyle(document.documentElement).getPropertyValue("--mono");
  const context = document.createElement("canvas").getContext("2d")!;
  context.font = `${size}px ${family}`;
  const boxes = layOut(list, (text) => context.measureText(text).width);
  const height = (boxes.at(-1)?.y ?? 0) + line + margin;
  const svg = element("svg", {
    viewBox: `0 0 ${width} ${height}`,
    width,
    height,
    class: "token-picture",
  }) as SVGSVGElement;
  const title = element("title", {});
  title.textContent = "The tokens of a text";
  svg.append(title);
  for (const box of boxes) {
    const { token, position, x, y } = box;
    svg.append(element("rect", { x, y, width: box.width, height: 24, rx: 4, class: hue(token, position) }));
    if (position >= prompt) {
      svg.append(element("rect", { x, y: y + 24, width: box.width, height: 2, class: "under" }));
    }
    const text = element("text", { x, y: y + 17, "font-size": size, "xml:space": "preserve" });
    text.textContent = box.text;
    svg.append(text);
  }
  document.body.append(svg); // saveSVG reads the colours that the style sheet gives it
  saveSVG("tokens", svg);
  svg.remove();
}

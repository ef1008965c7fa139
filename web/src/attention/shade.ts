// The shade of a weight: one hue from pale to deep, the same in the thumbnails, the matrix, the text and the
// legend. A shade grows with the square root of the weight, so that weights of some percent can be seen
// beside one of 90%.

import { scaleLinear } from "d3-scale";
import { computed, signal } from "@preact/signals";

export interface Shades {
  fill: string[]; // [levels] CSS colours
  ink: string[]; // [levels] a colour of text that can be read on them
  pixels: Uint32Array; // [levels] the same colours as the pixels of a canvas
}

export const levels = 256;

/** The level of a weight, 0 … levels-1. */
export function level(weight: number): number {
  return Math.round((levels - 1) * Math.sqrt(Math.min(1, Math.max(0, weight))));
}

const scheme = signal(0);

/** The shades of the page's colour scheme. They are read when a picture needs them first. */
export const shades = computed<Shades>(() => {
  scheme.value;
  return read();
});

function read(): Shades {
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.setProperty("forced-color-adjust", "none"); // the shades are data
  const stops = [0, 1, 2, 3].map((i) => {
    probe.style.color = `var(--heat-${i})`;
    return getComputedStyle(probe).color;
  });
  probe.remove();
  const scale = scaleLinear<string>()
    .domain([0, 0.4, 0.75, 1].map((x) => x * (levels - 1)))
    .range(stops);
  const made: Shades = { fill: [], ink: [], pixels: new Uint32Array(levels) };
  const bytes = new Uint8Array(made.pixels.buffer);
  for (let i = 0; i < levels; i++) {
    const fill = scale(i);
    const [r = 0, g = 0, b = 0] = (fill.match(/[\d.]+/g) ?? []).map(Number);
    bytes.set([r, g, b, 255], 4 * i);
    made.fill.push(fill);
    // Of black and white, one always has a contrast of 4.5 and more: white below this luminance (WCAG 2).
    made.ink.push(0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b) < 0.179 ? "#fff" : "#000");
  }
  return made;
}

function linear(byte: number): number {
  const x = byte / 255;
  return x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
}

// The scheme may change while the page is open.
const again = () => scheme.value++;
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
new MutationObserver(again).observe(document.documentElement, { attributes: true });

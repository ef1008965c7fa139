// Where the parts of the large matrix go, in CSS pixels. The page and the saved picture both follow it.

import { brief } from "../show";
import type { TextToken } from "../api";

export interface Plan {
  width: number;
  height: number;
  left: number; // the first column's left side
  top: number; // the first row's upper side
  cell: number; // the side of a cell
  gap: number; // between cells, where they are large enough
  earlier: number; // the left side of the column of all earlier positions; NaN if there is none
  size: number; // of the labels' letters
  step: number; // every step-th position has a label
  angle: number; // of the columns' labels, in degrees
  labels: string[]; // [positions]
}

const most = { cell: 68, label: 104, size: 12.5 };
/** The least distance of the columns "earlier" and the first one: their labels stand side by side. */
const apart = 15;
const font = "DejaVu Sans, sans-serif";
const brush = document.createElement("canvas").getContext("2d")!;

/** Plans a matrix of the tokens that fits the width. */
export function plan(tokens: TextToken[], earlier: boolean, width: number): Plan {
  const count = Math.max(1, tokens.length);
  const longest = Math.min(most.label, width * 0.24);
  // First a guess of the cells from the widest labels; then labels as wide as they really are.
  const guess = Math.min(most.cell, (width - longest - 24) / (count + (earlier ? 1.5 : 0)));
  const size = Math.max(9, Math.min(most.size, guess * 0.92));
  const step = Math.max(1, Math.ceil((size * 1.12) / guess));
  // More than two marks on a letter would reach into the rows above.
  const calm = (label: string) => label.replace(/(\p{M}{2})\p{M}+/gu, "$1");
  const labels = tokens.map((t) => fitted(calm(brief(t, 24)), longest, size));
  const used = labels.filter((_, i) => i % step === 0);
  // The cursor's labels are bold, and so a little wider.
  const label = Math.max(24, ...used.map((l) => 1.1 * measure(l, size)));
  const left = Math.ceil(label + 10);
  const angle = guess >= size * 1.45 ? 45 : 90;
  const top = Math.ceil((angle === 45 ? label * 0.71 + size * 0.71 : label) + 10);
  // The last columns' labels lean out of the matrix.
  const right = angle === 45 ? Math.max(4, lean(labels, size, guess)) : 6;
  const free = width - left - right;
  const cell = Math.min(
    most.cell,
    earlier ? Math.min(free / (count + 1.5), (free - apart) / count) : free / count,
  );
  const room = earlier ? Math.max(1.5 * cell, apart) : 0;
  return {
    width: left + room + count * cell + right,
    height: top + count * cell + 2,
    left: left + room,
    top,
    cell,
    gap: cell >= 24 ? 2 : cell >= 9 ? 1 : 0,
    earlier: earlier ? left : NaN,
    size,
    step,
    angle,
    labels,
  };
}

/** How far the labels of columns reach beyond the last column. */
function lean(labels: string[], size: number, cell: number): number {
  return Math.max(
    ...labels.map((l, i) => measure(l, size) * 0.71 + size * 0.4 - (labels.length - i - 0.5) * cell + 4),
  );
}

function measure(label: string, size: number): number {
  brush.font = `${size}px ${font}`;
  return brush.measureText(label).width;
}

/** The label, cut to a width. */
function fitted(label: string, width: number, size: number): string {
  if (measure(label, size) <= width) return label;
  const letters = [...label.replace(/…$/, "")];
  while (letters.length > 1 && measure(letters.join("") + "…", size) > width) letters.pop();
  return letters.join("") + "…";
}

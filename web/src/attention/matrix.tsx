// The large picture of a head: a row for each token that looks, a column for each token that it looks at.
//
// The cells are painted on a canvas; the labels and the cursor are SVG above it. Tests read the element
// #matrix: data-layer, data-head (from 1), data-query and data-key (positions of the text, from 0) and
// data-weight, the number as the server sent it. data-key is "earlier" for the column of the positions that
// are not shown. Where a whole row is chosen, the element has no data-key.

import { useEffect, useRef, useState } from "preact/hooks";
import type { AttentionHead } from "../api";
import { visible } from "../show";
import { earlier, share } from "./head";
import { plan, type Plan } from "./plan";
import { level, levels, shades } from "./shade";
import {
  active,
  answer,
  chosen,
  column,
  cursor,
  hover,
  row,
  shown,
  tokenAt,
  type Column,
  unseen,
} from "./state";

/** Cells of this size have room for their weight, in percent. */
const numbers = 34;

/** The weight of a cell; null where the position cannot look. */
export function weightOf(head: AttentionHead, query: number, key: Column): number | null {
  const weights = head.weights[query - shown.value.from];
  if (!weights || key === null) return null;
  if (key === "earlier") return earlier(weights);
  return unseen(query, key) ? null : (weights[key - shown.value.from] ?? null);
}

export function Matrix() {
  const box = useRef<HTMLDivElement>(null);
  const [width, resize] = useState(0);
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => resize(Math.floor(entry!.contentRect.width)));
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  const h = chosen.value;
  return (
    <div class="matrix-box" ref={box}>
      {h && width > 0 && <Picture head={h} width={width} />}
    </div>
  );
}

function Picture({ head, width }: { head: AttentionHead; width: number }) {
  const { from, tokens } = shown.value;
  const p = plan(tokens, from > 0, Math.min(width, 720));
  const { row: query, column: key } = active.value;
  const weight = weightOf(head, query, key);
  const at = (event: MouseEvent): { row: number; column: Column } | null => {
    const frame = (event.currentTarget as HTMLElement).getBoundingClientRect();
    return find(p, event.clientX - frame.left, event.clientY - frame.top);
  };
  const text = key === null ? "" : key === "earlier" ? `positions before ${from}` : visible(tokenAt(key));
  return (
    <div
      id="matrix"
      class="matrix"
      role="application"
      aria-roledescription="attention matrix"
      aria-label={
        `Attention of head ${head.head} in layer ${answer.value!.attention.layer}, ${tokens.length} by ` +
        `${tokens.length} positions. The arrow keys move over its cells.`
      }
      aria-describedby="cell"
      tabIndex={0}
      data-layer={answer.value!.attention.layer}
      data-head={head.head}
      data-query={query}
      data-key={key ?? undefined}
      data-weight={weight ?? undefined}
      style={{ width: `${p.width}px`, height: `${p.height}px` }}
      onPointerMove={(e) => (hover.value = e.pointerType === "mouse" ? at(e) : null)}
      onPointerLeave={() => (hover.value = null)}
      onClick={(e) => choose(at(e))}
      onKeyDown={move}
    >
      <Cells head={head} p={p} />
      <svg class="over" width={p.width} height={p.height} aria-hidden="true">
        <Labels p={p} row={query - from} column={typeof key === "number" ? key - from : -1} />
        <Frame p={p} row={query - from} column={key === null || key === "earlier" ? key : key - from} />
      </svg>
      <p id="cell" class="hidden" role="status">
        {`“${visible(tokenAt(query))}”, position ${query}`}
        {key !== null && ` looks at “${text}”: ${weight === null ? "never" : share(weight)}`}
      </p>
    </div>
  );
}

/** The cell at a place. */
function find(p: Plan, x: number, y: number): { row: number; column: Column } | null {
  const { from, count } = shown.value;
  const r = Math.floor((y - p.top) / p.cell);
  if (r < 0 || r >= count) return null;
  const c = Math.floor((x - p.left) / p.cell);
  if (x >= p.earlier && x < p.earlier + p.cell) return { row: from + r, column: "earlier" };
  return { row: from + r, column: c >= 0 && c <= r ? from + c : null };
}

function choose(cell: { row: number; column: Column } | null): void {
  if (!cell) return;
  const { from, count } = shown.value;
  row.value = cell.row === from + count - 1 ? -1 : cell.row;
  column.value = cell.column;
}

/** The arrow keys move the cursor; Home and End go to the first and the last row's ends. */
function move(event: KeyboardEvent): void {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const { from, count } = shown.value;
  const { row: r, column: c } = cursor.value;
  const first: Column = from > 0 ? "earlier" : from;
  const next = { row: r, column: c };
  const last = from + count - 1;
  switch (event.key) {
    case "ArrowDown":
      next.row = Math.min(last, r + 1);
      break;
    case "ArrowUp":
      next.row = Math.max(from, r - 1);
      break;
    case "ArrowLeft":
      next.column = c === null ? r : c === "earlier" || c === from ? first : c - 1;
      break;
    case "ArrowRight":
      next.column = c === null ? first : c === "earlier" ? from : Math.min(r, c + 1);
      break;
    case "Home":
      next.column = first;
      break;
    case "End":
      next.column = r;
      break;
    case "Escape":
      next.column = null;
      break;
    default:
      return;
  }
  event.preventDefault();
  hover.value = null;
  if (typeof next.column === "number") next.column = Math.min(next.column, next.row);
  choose(next);
}

/** The cells, as many pixels as the screen has. */
function Cells({ head, p }: { head: AttentionHead; p: Plan }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const colors = shades.value;
  useEffect(() => {
    const c = canvas.current!;
    const scale = devicePixelRatio;
    c.width = Math.round(p.width * scale);
    c.height = Math.round(p.height * scale);
    const brush = c.getContext("2d")!;
    // Sides on whole pixels, so that no cell is blurred.
    const side = (from: number, i: number) => Math.round((from + i * p.cell) * scale);
    const gap = Math.round(p.gap * scale);
    brush.font = `${Math.min(13, p.cell * 0.3) * scale}px system-ui, sans-serif`;
    brush.textAlign = "center";
    brush.textBaseline = "middle";
    const paint = (weight: number, left: number, i: number, r: number) => {
      const shade = level(weight);
      const x = side(left, i);
      const y = side(p.top, r);
      brush.fillStyle = colors.fill[shade]!;
      brush.fillRect(x, y, side(left, i + 1) - x - gap, side(p.top, r + 1) - y - gap);
      if (p.cell < numbers || weight < 0.005) return;
      brush.fillStyle = colors.ink[shade]!;
      brush.fillText(
        Math.round(100 * weight).toString(),
        x + ((p.cell - p.gap) * scale) / 2,
        y + ((p.cell - p.gap) * scale) / 2,
      );
    };
    const { from } = shown.value;
    head.weights.forEach((weights, r) => {
      weights.forEach((w, i) => !unseen(from + r, from + i) && paint(w, p.left, i, r));
      if (!Number.isNaN(p.earlier)) paint(earlier(weights), p.earlier, 0, r);
    });
  }, [head, p.width, p.height, p.cell, colors]);
  return (
    <canvas ref={canvas} aria-hidden="true" style={{ width: `${p.width}px`, height: `${p.height}px` }} />
  );
}

/** The labels of rows and columns. Those of the cursor are always there, and their neighbours make room. */
export function Labels({ p, row: r, column: c }: { p: Plan; row: number; column: number }) {
  const shows = (i: number, at: number) => {
    if (i === at) return true;
    return i % p.step === 0 && (at < 0 || Math.abs(i - at) * p.cell >= p.size * 1.12);
  };
  const middle = (i: number) => (i + 0.5) * p.cell - p.gap / 2;
  return (
    <g font-size={p.size} class="labels">
      {p.labels.map(
        (l, i) =>
          shows(i, r) && (
            <text
              key={`r${i}`}
              class={i === r ? "chosen" : ""}
              x={(Number.isNaN(p.earlier) ? p.left : p.earlier) - 7}
              y={p.top + middle(i)}
              text-anchor="end"
              dominant-baseline="central"
            >
              {l}
            </text>
          ),
      )}
      {p.labels.map(
        (l, i) =>
          shows(i, c) && (
            <text
              key={`c${i}`}
              class={i === c ? "chosen" : ""}
              transform={`translate(${p.left + middle(i)} ${p.top - 7}) rotate(${-p.angle})`}
              dominant-baseline="central"
            >
              {l}
            </text>
          ),
      )}
      {!Number.isNaN(p.earlier) && (
        <text
          class="quiet"
          transform={`translate(${p.earlier + p.cell / 2} ${p.top - 7}) rotate(-90)`}
          dominant-baseline="central"
          font-size={Math.max(10, p.size)}
        >
          earlier
        </text>
      )}
    </g>
  );
}

/** A frame around the row, and one around the cell. */
function Frame({ p, row: r, column: c }: { p: Plan; row: number; column: number | "earlier" | null }) {
  const y = p.top + r * p.cell;
  const left = Number.isNaN(p.earlier) ? p.left : p.earlier;
  const right = p.left + (r + 1) * p.cell;
  const x = c === "earlier" ? p.earlier : p.left + (c ?? 0) * p.cell;
  const cell = p.cell - p.gap;
  return (
    <g class="frame">
      <rect x={left - 1.5} y={y - 1.5} width={right - left - p.gap + 3} height={cell + 3} rx="2" />
      {c !== null && <rect class="cell" x={x - 1.5} y={y - 1.5} width={cell + 3} height={cell + 3} rx="2" />}
    </g>
  );
}

/** The weights of the cells, in percent. */
function Percents({ head, p }: { head: AttentionHead; p: Plan }) {
  const { ink } = shades.value;
  const middle = (i: number) => (i + 0.5) * p.cell - p.gap / 2;
  return (
    <g text-anchor="middle" font-size={Math.min(13, p.cell * 0.3)}>
      {head.weights.map((weights, r) =>
        weights.map(
          (w, i) =>
            w >= 0.005 && (
              <text
                key={`${r} ${i}`}
                x={p.left + middle(i)}
                y={p.top + middle(r)}
                dominant-baseline="central"
                fill={ink[level(w)]}
              >
                {Math.round(100 * w)}
              </text>
            ),
        ),
      )}
    </g>
  );
}

/** The matrix as a picture of its own: one path for each shade. */
export function Drawing({ head, p }: { head: AttentionHead; p: Plan }) {
  const paths = new Array<string>(levels).fill("");
  const side = Math.round((p.cell - p.gap) * 100) / 100;
  const put = (weight: number, x: number, r: number) => {
    const y = p.top + r * p.cell;
    paths[level(weight)] += `M${x.toFixed(2)} ${y.toFixed(2)}h${side}v${side}h${-side}z`;
  };
  const { from } = shown.value;
  head.weights.forEach((weights, r) => {
    weights.forEach((w, i) => !unseen(from + r, from + i) && put(w, p.left + i * p.cell, r));
    if (!Number.isNaN(p.earlier)) put(earlier(weights), p.earlier, r);
  });
  return (
    <>
      {paths.map((d, i) => d !== "" && <path key={i} d={d} fill={shades.value.fill[i]} />)}
      {p.cell >= numbers && <Percents head={head} p={p} />}
      <Labels p={p} row={-1} column={-1} />
    </>
  );
}

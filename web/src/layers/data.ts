// The grid of the view: how the events of POST /explore/layers fill it, and which cell is pinned.

import { signal } from "@preact/signals";
import { stream, type LayersEvent, type LensAnswer, type LensCell, type TextToken, type Token } from "../api";
import { shared } from "../share";

/** A grid, which rows and answers fill bit by bit. Every change makes a new object, and new changed rows. */
export interface Grid {
  key: string; // the ids of the text, joined by commas
  text: TextToken[]; // the whole text, from position 0
  from: number; // the position of the first column
  positions: number; // columns
  layers: number; // rows: the embeddings and the model's layers
  rows: (LensCell | undefined)[][]; // [layers][positions]
  answers: (LensAnswer | undefined)[]; // [positions] what the last layer says
  tokens: ReadonlyMap<number, Token>; // every token that the cells mention
  filled: number; // cells that have arrived
  done: boolean;
}

/** A cell: its layer, 0 is the embeddings, and its position in the text. */
export interface Spot {
  layer: number;
  position: number;
}

/** The grid that is on the page. It stays while another view is open. */
export const grid = signal<Grid | null>(null);

/** The pinned cell: its layer and its position; empty if none is. */
export const pinned = shared<number[]>(
  "cell",
  [],
  (v) => (v.length === 0 || v.length === 2) && v.every((n) => Number.isSafeInteger(n) && n >= 0),
);

/** The cell under the pointer or with the keyboard's focus: the last of the two that changed. */
export const visited = signal<Spot | null>(null);

export function cellAt(g: Grid, spot: Spot): LensCell | undefined {
  return g.rows[spot.layer]?.[spot.position - g.from];
}

export function inside(g: Grid, spot: Spot | null): spot is Spot {
  return spot !== null && spot.layer < g.layers && spot.position >= g.from
    && spot.position < g.from + g.positions;
}

/** The pinned cell, unless the text has become too short for it. */
export function pinnedIn(g: Grid): Spot | null {
  const [layer, position] = pinned.value;
  if (layer === undefined || position === undefined) return null;
  const spot = { layer, position };
  return inside(g, spot) ? spot : null;
}

/** The last layer's cell at the last position: what the model says next. */
export function lastCell(g: Grid): Spot {
  return { layer: g.layers - 1, position: g.from + g.positions - 1 };
}

/** The cell that arrived last of those farthest right; the last cell when the grid is done. */
export function frontier(g: Grid): Spot {
  const last = lastCell(g);
  if (g.done) return last;
  // Each list is there from its beginning up to some index.
  const column = Math.max(0, g.rows[0]!.filter((cell) => cell).length - 1);
  const layer = Math.max(0, g.rows.filter((row) => row[column]).length - 1);
  return { layer, position: g.from + column };
}

/** The cell that the panel shows. */
export function shownIn(g: Grid): Spot {
  return pinnedIn(g) ?? (inside(g, visited.value) ? visited.value : frontier(g));
}

export function pin(spot: Spot): void {
  const [layer, position] = pinned.value;
  pinned.value = layer === spot.layer && position === spot.position ? [] : [spot.layer, spot.position];
}

/** A token that an event has named. A cell never comes before its tokens, so the second half is for bugs. */
export function tokenOf(g: Grid, id: number): Token {
  return g.tokens.get(id) ?? { id, piece: `#${id}`, text: "" };
}

export function layerName(layer: number): string {
  return layer === 0 ? "embeddings" : `layer ${layer}`;
}

/** Computes the grid of a text, unless it is there already. It appears while it grows. */
export async function load(key: string, text: TextToken[], signal: AbortSignal): Promise<void> {
  if (key === "" || (grid.value?.key === key && grid.value.done)) return;
  let g: Grid | null = null;
  let frame = 0;
  const show = () => {
    frame = 0;
    if (!signal.aborted) grid.value = g;
  };
  const body = { ids: text.map((t) => t.id), from: 0 };
  try {
    for await (const event of stream<LayersEvent>("explore/layers", body, signal)) {
      if (event.start) {
        g = begin(key, text, event.start);
        visited.value = null;
      } else if (g) {
        g = merge(g, event);
      }
      // Rows of a small model come faster than the screen shows them.
      if (frame === 0) frame = requestAnimationFrame(show);
    }
  } finally {
    cancelAnimationFrame(frame);
    if (g) show();
  }
  if (!g?.done) throw new Error("The server ended the answer before the last layer.");
}

function begin(key: string, text: TextToken[], start: NonNullable<LayersEvent["start"]>): Grid {
  return {
    ...start,
    key,
    text,
    rows: Array.from({ length: start.layers }, () => Array<undefined>(start.positions).fill(undefined)),
    answers: Array<undefined>(start.positions).fill(undefined),
    tokens: new Map(),
    filled: 0,
    done: false,
  };
}

function merge(g: Grid, event: LayersEvent): Grid {
  const next = { ...g };
  if (event.tokens) next.tokens = new Map([...g.tokens, ...event.tokens.map((t) => [t.id, t] as const)]);
  if (event.row) {
    const { layer, from, cells } = event.row;
    next.rows = replaced(g.rows, layer, [replaced(g.rows[layer]!, from - g.from, cells)]);
    next.filled += cells.length;
  }
  if (event.answers) {
    next.answers = replaced(g.answers, event.answers.from - g.from, event.answers.positions);
  }
  if (event.done) next.done = true;
  return next;
}

function replaced<T>(list: T[], from: number, part: T[]): T[] {
  return [...list.slice(0, from), ...part, ...list.slice(from + part.length)];
}

/** All events of a grid as one value, for the saved JSON. Its parts are those of the events. */
export function merged(g: Grid) {
  return {
    ids: g.text.map((t) => t.id),
    start: { from: g.from, positions: g.positions, layers: g.layers },
    tokens: [...g.tokens.values()],
    rows: g.rows.map((cells, layer) => ({ layer, from: g.from, cells })),
    answers: { from: g.from, positions: g.answers },
    done: g.done,
  };
}

// The state of the view: what a link carries, and what the server answered.

import { computed, signal } from "@preact/signals";
import type { Attention, AttentionHead, TextToken } from "../api";
import { shared } from "../share";
import { about } from "../state";

const whole = (least: number) => (value: number) => Number.isSafeInteger(value) && value >= least;

export const layer = shared<number>("attention.layer", 1, whole(1));
export const head = shared<number>("attention.head", 1, whole(1));
/** The position whose row is chosen; -1: the last one, however long the text grows. */
export const row = shared<number>("attention.row", -1, whole(-1));
/** How the thumbnails are sorted: "" or a measure. */
export const sort = shared<string>("attention.sort", "");

/** The column of the cursor: a position, all positions before the shown ones, or null for the whole row. */
export type Column = number | "earlier" | null;
export const column = signal<Column>(null);
/** The cell under the pointer. It wins over the chosen one. */
export const hover = signal<{ row: number; column: Column } | null>(null);

/** The last answer, with the ids that it is about. */
export interface Answer {
  ids: number[];
  text: TextToken[];
  attention: Attention;
}
export const answer = signal<Answer | null>(null);

/** The layer that is asked for. A link may name one that this model lacks. */
export const asked = computed(() => Math.min(layer.value, about.value?.layers ?? 1));

/** The chosen head. */
export const chosen = computed<AttentionHead | null>(() => {
  const heads = answer.value?.attention.heads;
  return heads?.find((h) => h.head === head.value) ?? heads?.[0] ?? null;
});

/** The shown positions: from … from+count-1. */
export const shown = computed(() => {
  const a = answer.value;
  const from = a?.attention.from ?? 0;
  return { from, count: a?.attention.heads[0]?.weights.length ?? 0, tokens: a?.text.slice(from) ?? [] };
});

/** The chosen cell, within the shown positions. */
export const cursor = computed<{ row: number; column: Column }>(() => {
  const { from, count } = shown.value;
  const last = from + count - 1;
  const r = row.value < from || row.value > last ? last : row.value;
  const c = column.value;
  return { row: r, column: typeof c === "number" && (c < from || c > r) ? null : c };
});

/** The cell that the page tells about. */
export const active = computed(() => {
  const h = hover.value;
  const { from, count } = shown.value;
  return h && h.row >= from && h.row < from + count ? h : cursor.value;
});

/** The weights of the active row, of the positions from … row. */
export const weights = computed(() => {
  const h = chosen.value;
  return h?.weights[active.value.row - shown.value.from] ?? [];
});

/** The sliding window hides the key from the query. */
export function unseen(query: number, key: number): boolean {
  const window = about.value?.sliding_window ?? 0;
  return window > 0 && key <= query - window;
}

/** The token at a position. */
export function tokenAt(position: number): TextToken {
  return answer.value!.text[position]!;
}

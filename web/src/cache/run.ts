// A run of the model with the KV cache and one without it, which the server computes in turns.

import { computed, signal } from "@preact/signals";
import { stream, type CacheEnd, type CacheEvent, type TextToken } from "../api";
import { shared } from "../share";
import { about, ids, report, text } from "../state";

export const most = 256;
/** How many tokens to generate. */
export const count = shared<number>("cache.count", 24, (n) => Number.isSafeInteger(n) && n >= 1 && n <= most);

export type State = "running" | "stopped" | "done" | "failed";

export interface Run {
  text: TextToken[]; // the prompt
  asked: number; // tokens
  state: State;
  problem: string;
  cached: CacheEvent[]; // the steps of the run with the cache
  plain: CacheEvent[]; // of the run without
  end: CacheEnd | null;
}

/** The run that the page shows; null: none yet. */
export const run = signal<Run | null>(null);
/** The step that is chosen; null: the newest. */
export const chosen = signal<number | null>(null);

/** How many steps the runs have, or will have at most. */
export const steps = computed(() => {
  const r = run.value;
  if (!r) return 0;
  return r.state === "running" ? r.asked : Math.max(1, r.cached.length, r.plain.length);
});

/** How many steps both runs have ended. */
export const both = computed(() =>
  run.value ? Math.min(run.value.cached.length, run.value.plain.length) : 0,
);

/** The step that a lane shows: the chosen one, or its newest; -1: none. */
export function stepOf(events: CacheEvent[]): number {
  return Math.min(chosen.value ?? Infinity, events.length - 1);
}

/** How many tokens the text still has room for. */
export const room = computed(() => Math.min(most, (about.value?.context ?? 0) - ids.value.length));

let controller = new AbortController();

export function stop(): void {
  controller.abort();
  if (run.value?.state === "running") run.value = { ...run.value, state: "stopped" };
}

export function clear(): void {
  stop();
  run.value = null;
  chosen.value = null;
}

export async function generate(): Promise<void> {
  clear();
  controller = new AbortController();
  const { signal } = controller;
  const asked = Math.min(count.value, room.value);
  const now: Run = {
    text: text.value,
    asked,
    state: "running",
    problem: "",
    cached: [],
    plain: [],
    end: null,
  };
  // A small model makes more steps a second than a screen has pictures.
  let waiting = 0;
  const show = () => {
    cancelAnimationFrame(waiting);
    if (!signal.aborted) run.value = { ...now };
  };
  show();
  try {
    const body = { ids: now.text.map((t) => t.id), max_new_tokens: asked };
    for await (const event of stream<CacheEvent | CacheEnd>("explore/cache", body, signal)) {
      if ("done" in event) now.end = event;
      else if (event.cache) now.cached = [...now.cached, event];
      else now.plain = [...now.plain, event];
      cancelAnimationFrame(waiting);
      waiting = requestAnimationFrame(show);
    }
    now.state = now.end ? "done" : "failed";
    if (!now.end) now.problem = "The answer ended too early.";
  } catch (error) {
    if (signal.aborted) return;
    now.state = "failed";
    now.problem = report(error);
  }
  show();
}

/** The time of the first steps of a run, in milliseconds. */
export function time(events: CacheEvent[], steps = events.length): number {
  return events.slice(0, steps).reduce((sum, e) => sum + e.ms, 0);
}

/** The median time of the steps after the first one, in milliseconds; NaN: there are none. */
export function typical(events: CacheEvent[], steps: number): number {
  const times = events.slice(1, steps).map((e) => e.ms);
  times.sort((a, b) => a - b);
  const middle = (times.length - 1) / 2;
  return (times[Math.floor(middle)]! + times[Math.ceil(middle)]!) / 2;
}

/** The positions that the first steps of a run computed. */
export function positions(events: CacheEvent[], steps = events.length): number {
  return events.slice(0, steps).reduce((sum, e) => sum + e.computed, 0);
}

/** What the hashes of the logits say. */
export const verdict = computed<{ kind: "none" | "good" | "bad"; words: string }>(() => {
  const r = run.value;
  if (!r || both.value === 0) return { kind: "none", words: "" };
  const n = both.value;
  const bad = r.plain.findIndex((e, i) => i < n && e.hash !== r.cached[i]!.hash);
  if (bad >= 0) {
    return { kind: "bad", words: `The logits differ at step ${bad + 1}. They must be the same bits.` };
  }
  const which = r.state === "done" ? "All" : "The first";
  const rows = n === 1 ? "The row of logits is" : `${which} ${n} rows of logits are`;
  if (r.state !== "done") return { kind: "good", words: `${rows} equal so far, bit for bit.` };
  if (r.cached.length !== r.plain.length || !r.end?.same) {
    return { kind: "bad", words: "The server found that the two runs differ." };
  }
  return { kind: "good", words: `${rows} equal, bit for bit.` };
});

/** Milliseconds for people: three digits that count. */
export function duration(ms: number): string {
  if (ms >= 10_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms >= 1000) return `${(ms / 1000).toFixed(2)} s`;
  return `${ms.toFixed(ms >= 100 ? 0 : ms >= 10 ? 1 : 2)} ms`;
}

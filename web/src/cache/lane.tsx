// A lane: one of the two runs. It shows the text as it grows, and for the shown step which positions were
// computed and which were read from the cache.
//
// Tests read .lane: data-lane ("cached" or "plain"), data-step (from 0), data-computed, data-read,
// data-bytes, data-ms and data-hash, as the server sent them.

import { useEffect, useRef, useState } from "preact/hooks";
import type { CacheEvent, TextToken } from "../api";
import { bytes, written } from "../show";
import { Piece } from "../tokens/piece";
import { duration, run, stepOf, steps } from "./run";

export function Lane({ cache }: { cache: boolean }) {
  const r = run.value!;
  const events = cache ? r.cached : r.plain;
  const step = stepOf(events);
  const e = events[step];
  const name = cache ? "cached" : "plain";
  return (
    <section
      class={`lane ${name}`}
      aria-labelledby={`lane-${name}`}
      data-lane={name}
      data-step={step}
      data-computed={e?.computed}
      data-read={e?.read}
      data-bytes={e?.bytes}
      data-ms={e?.ms}
      data-hash={e?.hash}
    >
      <h2 id={`lane-${name}`}>
        <svg class="sample" viewBox="0 0 22 10" aria-hidden="true">
          <line class="curve" x1="0" x2="22" y1="5" y2="5" />
        </svg>
        {cache ? "With the cache" : "Without the cache"}
        <span class="time">{e ? duration(e.ms) : "…"}</span>
      </h2>
      <Growing events={events} step={step} running={r.state === "running"} />
      <Squares e={e} length={r.text.length + step} most={r.text.length + steps.value - 1} />
      <p class="counts">
        {e ? <Counts e={e} /> : r.state === "running" ? "waits for its first step" : "no step"}
      </p>
      <Kept e={e} events={events} cache={cache} />
    </section>
  );
}

function Counts({ e }: { e: CacheEvent }) {
  return (
    <>
      <b>{e.computed.toLocaleString("en")}</b> computed · <b>{e.read.toLocaleString("en")}</b> read from the
      cache
    </>
  );
}

/** Tokens start … end-1 of a text as one, so that a character made of several tokens is seen whole. */
interface Whole {
  token: TextToken;
  start: number;
  end: number;
}

function whole(tokens: TextToken[]): Whole[] {
  const all: Whole[] = [];
  for (let start = 0; start < tokens.length;) {
    let token = tokens[start]!;
    let end = start + 1;
    // A character has at most four bytes, so at most four tokens have a part in it.
    while (written(token) === null && end < Math.min(tokens.length, start + 4)) {
      token = { ...token, bytes: token.bytes + tokens[end]!.bytes };
      end++;
    }
    if (written(token) === null) {
      token = tokens[start]!;
      end = start + 1;
    }
    all.push({ token, start, end });
    start = end;
  }
  return all;
}

/** The prompt and what has been generated up to the step. */
function Growing({ events, step, running }: { events: CacheEvent[]; step: number; running: boolean }) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    box.current!.scrollTop = box.current!.scrollHeight;
  }, [step]);
  return (
    <div class="growing" ref={box} role="group" aria-label="Text" tabIndex={0}>
      {whole(run.value!.text).map(({ token, start }) => (
        <bdi key={start} class="given">
          <Piece token={token} />
        </bdi>
      ))}
      {whole(events.slice(0, step + 1).map((e) => e.token)).map(({ token, start, end }) => (
        <bdi key={`n${start}`} class={end === step + 1 ? "new" : ""}>
          <Piece token={token} />
        </bdi>
      ))}
      {running && step === events.length - 1 && <span class="caret" aria-hidden="true" />}
    </div>
  );
}

/** A square for each position of a step: computed, read from the cache, or (sliding window) not read. */
function Squares({ e, length, most }: { e: CacheEvent | undefined; length: number; most: number }) {
  const box = useRef<HTMLDivElement>(null);
  const [width, resize] = useState(0);
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => resize(Math.floor(entry!.contentRect.width)));
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  // As large as the last step allows, so that the squares keep their places while the text grows.
  const side =
    [18, 14, 11, 9, 7, 5, 4, 3].find((s) => Math.ceil(most / Math.floor(width / s)) * s <= 76) ?? 3;
  const across = Math.max(1, Math.floor(width / side));
  const height = Math.ceil(most / across) * side;
  const gap = side > 8 ? 3 : side > 4 ? 2 : 1;
  const squares = (from: number, to: number, inset: number) => {
    const s = side - gap - 2 * inset;
    let d = "";
    for (let i = from; i < to; i++) {
      d += `M${(i % across) * side + inset} ${Math.floor(i / across) * side + inset}h${s}v${s}h${-s}z`;
    }
    return d;
  };
  const computed = e?.computed ?? 0;
  const read = e?.read ?? 0;
  const unread = Math.max(0, length - computed - read);
  return (
    <div class="squares" ref={box}>
      {width > 0 && (
        <svg
          width={width}
          height={height}
          role="img"
          aria-label={`${length} positions: ${computed} computed, ${read} read from the cache`}
        >
          <path class="room" d={squares(length, most, 0)} />
          <path class="unread" d={squares(0, unread, side > 6 ? 1 : 0)} />
          <path
            class={side > 6 ? "read" : "read small"}
            d={squares(unread, unread + read, side > 6 ? 0.75 : 0)}
          />
          <path class="computed" d={squares(unread + read, length, 0)} />
        </svg>
      )}
    </div>
  );
}

/** The bytes that the run keeps after the step. */
function Kept({ e, events, cache }: { e: CacheEvent | undefined; events: CacheEvent[]; cache: boolean }) {
  const r = run.value!;
  // The last step's bytes are not known before it: each position takes the same.
  const one = events[0] && events[0].computed > 0 ? events[0].bytes / events[0].computed : 0;
  const full = Math.max(one * (r.text.length + steps.value - 1), e?.bytes ?? 0, 1);
  return (
    <div class="kept">
      <span class="quiet">{cache ? "keys and values kept" : "nothing is kept"}</span>
      <svg viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">
        <rect class="back" width="100" height="6" />
        <rect class="bar" width={(100 * (e?.bytes ?? 0)) / full} height="6" />
      </svg>
      <span class="amount">{bytes(e?.bytes ?? 0)}</span>
    </div>
  );
}

// A layer's heads as small pictures, one of which is chosen.

import { useEffect, useRef } from "preact/hooks";
import type { AttentionHead } from "../api";
import { label, labelled, measures, sorted } from "./head";
import { level, shades } from "./shade";
import { answer, chosen, head, shown, sort, unseen } from "./state";

export function Heads() {
  const heads = sorted(answer.value?.attention.heads ?? [], sort.value);
  const move = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step || heads.length === 0) return;
    event.preventDefault();
    const at = heads.findIndex((h) => h.head === chosen.value?.head);
    head.value = heads[(at + step + heads.length) % heads.length]!.head;
    document.getElementById(`head-${head.value}`)?.focus();
  };
  const box = useRef<HTMLDivElement>(null);
  const at = chosen.value?.head;
  useEffect(() => {
    // Only the box scrolls: scrollIntoView would move the page too.
    const here = box.current!.querySelector<HTMLElement>('[aria-checked="true"]');
    if (!here) return;
    const { scrollTop, scrollLeft, clientHeight, clientWidth } = box.current!;
    const { offsetTop, offsetLeft, offsetHeight, offsetWidth } = here;
    const into = (now: number, size: number, start: number, length: number) =>
      Math.max(Math.min(now, start - 8), start + length + 8 - size);
    box.current!.scrollTo(
      into(scrollLeft, clientWidth, offsetLeft, offsetWidth),
      into(scrollTop, clientHeight, offsetTop, offsetHeight),
    );
  }, [at, sort.value]);
  return (
    <div class="heads-box">
      <label class="sort">
        heads by{" "}
        <select value={sort.value} onChange={(e) => (sort.value = e.currentTarget.value)}>
          <option value="">number</option>
          {measures.map((m) => (
            <option key={m.key} value={m.key}>
              {m.name}
            </option>
          ))}
        </select>
      </label>
      <div class="heads" role="radiogroup" aria-label="Heads of the layer" ref={box} onKeyDown={move}>
        {heads.map((h) => (
          <Thumb key={h.head} of={h} />
        ))}
      </div>
    </div>
  );
}

function Thumb({ of: h }: { of: AttentionHead }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const colors = shades.value;
  useEffect(() => paint(canvas.current!, h.weights), [h, colors]);
  const here = chosen.value?.head === h.head;
  const measure = measures.find((m) => m.key === sort.value);
  const value = measure ? h.measures[measure.key] : labelled(h);
  const name = measure ? "" : label(h);
  return (
    <button
      type="button"
      role="radio"
      id={`head-${h.head}`}
      class="thumb"
      aria-checked={here}
      tabIndex={here ? 0 : -1}
      data-head={h.head}
      data-label={h.label}
      onClick={() => (head.value = h.head)}
    >
      <canvas ref={canvas} class={h.weights.length > 76 ? "fine" : ""} aria-hidden="true" />
      <span>
        <b>
          <span class="hidden">head </span>
          {h.head}
        </b>{" "}
        {measure && <span class="hidden">{measure.name} </span>}
        {name} {value !== null ? `${Math.round(100 * value)}%` : measure ? "–" : ""}
      </span>
    </button>
  );
}

/** Paints a pixel for each cell. Above the diagonal nothing is painted. */
function paint(canvas: HTMLCanvasElement, rows: number[][]): void {
  const count = rows.length;
  canvas.width = canvas.height = Math.max(1, count);
  const image = new ImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer);
  const colors = shades.peek().pixels;
  const { from } = shown.peek();
  rows.forEach((weights, r) => {
    for (let i = 0; i < weights.length && i < count; i++) {
      if (!unseen(from + r, from + i)) pixels[r * count + i] = colors[level(weights[i]!)]!;
    }
  });
  canvas.getContext("2d")!.putImageData(image, 0, 0);
}

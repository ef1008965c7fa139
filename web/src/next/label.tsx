// Text of tokens in pictures: text nodes, cut to a width.

import { useEffect, useRef } from "preact/hooks";
import { useSignal } from "@preact/signals";
import type { Token } from "../api";
import { parts, type Part } from "../show";

let context: CanvasRenderingContext2D | undefined;

/** The width of a text in a font of the style sheet, in CSS pixels. */
export function width(text: string, size: number, font = "--mono"): number {
  context ??= document.createElement("canvas").getContext("2d")!;
  const family = getComputedStyle(document.documentElement).getPropertyValue(font);
  context.font = `${size}px ${family}`;
  return context.measureText(text).width;
}

const graphemes = new Intl.Segmenter("en");

/** The parts of a token's text, cut to a width with an ellipsis. */
export function fit(token: Token, size: number, room: number): Part[] {
  const all = parts(token);
  if (width(all.map((p) => p.text).join(""), size) <= room) return all;
  const cut: Part[] = [];
  let text = "";
  for (const part of all) {
    let kept = "";
    // A sign is whole or not there.
    const units = part.sign ? [part.text] : Array.from(graphemes.segment(part.text), (s) => s.segment);
    for (const unit of units) {
      if (width(`${text}${kept}${unit}…`, size) > room) {
        if (kept !== "") cut.push({ ...part, text: kept });
        return [...cut, { text: "…", sign: true, raw: "" }];
      }
      kept += unit;
    }
    cut.push({ ...part, text: kept });
    text += kept;
  }
  return cut;
}

export function Label({ list }: { list: Part[] }) {
  return (
    <>
      {list.map((p) => (
        <tspan class={p.sign ? "sign" : undefined}>{p.text}</tspan>
      ))}
    </>
  );
}

/** The width of an element, which changes with the window. */
export function useWidth() {
  const box = useRef<HTMLDivElement>(null);
  const w = useSignal(0);
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => (w.value = Math.floor(entry!.contentRect.width)));
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  return { box, width: w.value };
}

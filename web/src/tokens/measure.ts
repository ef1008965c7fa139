// What the view of the tokens counts.

import type { TextToken } from "../api";
import { written } from "../show";

const graphemes = new Intl.Segmenter("en", { granularity: "grapheme" });

/** What a reader counts as characters. */
export function characters(text: string): number {
  let n = 0;
  for (const _ of graphemes.segment(text)) n++;
  return n;
}

export function utf8Length(text: string): number {
  return new TextEncoder().encode(text).length;
}

function byteList(token: TextToken): number[] {
  return (token.bytes.match(/../g) ?? []).map((b) => parseInt(b, 16));
}

/** The characters of which the token at an index is only a part; "" if it is not, or if they are unknown. */
export function wholeCharacter(list: TextToken[], index: number): string {
  if (written(list[index]!) !== null) return "";
  // The bytes of the neighbours that are parts of characters too.
  let from = index;
  while (from > 0 && !list[from - 1]!.special && written(list[from - 1]!) === null) from--;
  const all: number[] = [];
  let begin = 0;
  let end = 0;
  for (
    let i = from;
    i < list.length && !list[i]!.special && (i <= index || written(list[i]!) === null);
    i++
  ) {
    if (i === index) begin = all.length;
    all.push(...byteList(list[i]!));
    if (i === index) end = all.length;
  }
  const continues = (b: number | undefined) => b !== undefined && (b & 0xc0) === 0x80;
  while (begin > 0 && continues(all[begin])) begin--;
  while (continues(all[end])) end++;
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(all.slice(begin, end)));
  } catch {
    return "";
  }
}

/**
 * The index of the token whose leading blank the tokenizer has put before the text; -1 if there is none.
 * Tokenizers of SentencePiece do so, so that a word is the same token at the beginning of a text.
 */
export function addedBlank(list: TextToken[], text: string): number {
  const index = list.findIndex((t) => !t.special);
  if (index < 0) return -1;
  const first = written(list[index]!);
  if (first === null || !first.startsWith(" ")) return -1;
  const before = list
    .slice(0, index)
    .map((t) => written(t) ?? "")
    .join("");
  const rest = text.startsWith(before) ? text.slice(before.length) : text;
  return rest.startsWith(" ") && !first.startsWith("  ") ? -1 : index;
}

// How tokens and numbers look. Text of a model is only ever a text node or an attribute, never HTML.

import type { TextToken, Token } from "./api";

// Characters that draw nothing, or that change how their neighbours are drawn: controls, marks of direction,
// joiners, blanks, private and unassigned ones. A joiner within an emoji is a part of what one sees.
const loneJoiner = /(?<![\p{Extended_Pictographic}\p{Emoji_Modifier}]\uFE0F?)\u200D/u;
const others = /(?!\u200D)[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Cs}\p{Z}]/u;
const invisible = new RegExp(`${loneJoiner.source}|${others.source}`, "gu");

/**
 * What a token adds to a text, its leading blank included; null if that is only a part of a character. Only
 * the bytes of a TextToken say this for certain.
 */
export function written(token: Token): string | null {
  const hex = (token as TextToken).bytes ?? "";
  if (hex === "") {
    const text = token.text !== "" ? token.text : token.piece;
    return token.piece.startsWith("▁") && !/^[ ▁]/.test(text) ? ` ${text}` : text;
  }
  try {
    const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    return decoder.decode(Uint8Array.from(hex.match(/../g) ?? [], (b) => parseInt(b, 16)));
  } catch {
    return null;
  }
}

/** Bytes in hexadecimal, as a sign for a part of a character. */
export function byteSigns(hex: string): string {
  return hex.replace(/../g, (b) => `‹${b.toUpperCase()}›`);
}

/** A part of a token's text: characters as they are, or a sign for one that cannot be seen. */
export interface Part {
  text: string;
  sign: boolean;
  raw: string; // the character that the sign stands for; "" if it is a byte
}

function sign(c: string): string {
  const known = { "\n": "⏎", "\t": "⇥", " ": "·" }[c];
  return known ?? `‹${c.codePointAt(0)!.toString(16).toUpperCase()}›`;
}

/** A token's text in parts. Characters that cannot be seen have visible signs. */
export function parts(token: Token): Part[] {
  let text = written(token);
  if (text === null) return [{ text: byteSigns((token as TextToken).bytes), sign: true, raw: "" }];
  if (text === "") return [{ text: "∅", sign: true, raw: "" }];
  if (/^\p{M}/u.test(text)) text = `◌${text}`; // a mark that would join the token before it
  const all: Part[] = [];
  let end = 0;
  for (const match of text.matchAll(invisible)) {
    if (match.index > end) all.push({ text: text.slice(end, match.index), sign: false, raw: "" });
    all.push({ text: sign(match[0]), sign: true, raw: match[0] });
    end = match.index + match[0].length;
  }
  if (end < text.length) all.push({ text: text.slice(end), sign: false, raw: "" });
  return all;
}

/** A token's text with a visible sign for each character that cannot be seen. */
export function visible(token: Token): string {
  return parts(token)
    .map((p) => p.text)
    .join("");
}

/** The visible text, cut to a number of characters. */
export function brief(token: Token, most: number): string {
  const all = [...visible(token)];
  return all.length <= most ? all.join("") : all.slice(0, most - 1).join("") + "…";
}

export function percent(p: number): string {
  if (p > 0 && p < 0.0001) return "<0.01%";
  return `${(100 * p).toFixed(p >= 0.1 ? 1 : 2)}%`;
}

/** A probability as phi3 next-token prints it: 41.23%, 0.0061%, 6.1e-05%, 0%. */
export function exactPercent(p: number): string {
  if (p === 0) return "0%";
  if (p >= 0.0001) return `${(100 * p).toFixed(2)}%`;
  if (p >= 0.000001) return `${(100 * p).toFixed(1 - Math.floor(Math.log10(100 * p)))}%`;
  return `${(100 * p).toExponential(1).replace(/e([+-])(\d)$/, "e$10$2")}%`;
}

export function digits(x: number, n = 2): string {
  return x.toFixed(n).replace("-", "−");
}

export function bytes(n: number): string {
  if (n < 1e3) return `${n} B`;
  if (n < 1e6) return `${(n / 1e3).toFixed(1)} kB`;
  if (n < 1e9) return `${(n / 1e6).toFixed(1)} MB`;
  return `${(n / 1e9).toFixed(2)} GB`;
}

// How tokens and numbers look. Text of a model is only ever a text node or an attribute, never HTML.

import type { TextToken, Token } from "./api";

// Characters that draw nothing, or that change how their neighbours are drawn: controls, marks of direction,
// joiners, blanks that are not a space, private and unassigned ones.
const invisible = /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Cs}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu;

/** A token's text with a visible sign for each character that cannot be seen. */
export function visible(token: Token): string {
  const text = token.text !== "" ? token.text : token.piece;
  if (text === "") return "∅";
  if (text.includes("\uFFFD") && /^[0-9a-f]+$/.test((token as TextToken).bytes ?? "")) {
    return (token as TextToken).bytes.replace(/../g, (b) => `‹${b.toUpperCase()}›`);
  }
  return text
    .replace(/\n/g, "⏎")
    .replace(/\t/g, "⇥")
    .replace(/ /g, "·")
    .replace(invisible, (c) => `‹${c.codePointAt(0)!.toString(16).toUpperCase()}›`);
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

export function digits(x: number, n = 2): string {
  return x.toFixed(n).replace("-", "−");
}

export function bytes(n: number): string {
  if (n < 1e3) return `${n} B`;
  if (n < 1e6) return `${(n / 1e3).toFixed(1)} kB`;
  if (n < 1e9) return `${(n / 1e6).toFixed(1)} MB`;
  return `${(n / 1e9).toFixed(2)} GB`;
}

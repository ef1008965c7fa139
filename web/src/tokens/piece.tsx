import type { TextToken, Token } from "../api";
import { parts, written } from "../show";
import "./piece.css";

/** The number of hues that adjacent pieces of a text take in turn. */
export const hues = 5;

/** The class of a piece by its position in the text. */
export function hue(token: TextToken, position: number): string {
  return token.special ? "piece special" : `piece hue-${position % hues}`;
}

/** Whether a line can break before a token, as in a text. A blank is a sign, so the browser does not know. */
export function mayBreak(token: TextToken): boolean {
  return token.special || /^\s/.test(written(token) ?? " ");
}

/**
 * A token's text as text nodes. A sign stands for each character that cannot be seen. lines: a line feed also
 * begins a line.
 */
export function Piece({ token, lines = false }: { token: Token; lines?: boolean }) {
  return (
    <>
      {parts(token).map((part) =>
        part.sign ? (
          <span class={part.text.startsWith("‹") ? "sign whole" : "sign"}>
            {part.text}
            {lines && part.raw === "\n" && "\n"}
          </span>
        ) : (
          part.text
        ),
      )}
    </>
  );
}

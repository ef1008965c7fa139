// What one position reads: its text with a shade behind each token, and the highest weights.

import { useEffect, useRef } from "preact/hooks";
import { brief } from "../show";
import { Piece } from "../tokens/piece";
import { earlier, share } from "./head";
import { level, shades } from "./shade";
import { active, chosen, column, hover, row, shown, tokenAt, unseen, weights } from "./state";

/** How many of the highest weights are listed. */
const most = 8;

export function Reading() {
  const { from, count, tokens } = shown.value;
  const list = weights.value;
  const { row: query, column: key } = active.value;
  const { fill, ink } = shades.value;
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    // Only the box scrolls: scrollIntoView would move the page too.
    const token = box.current?.querySelector<HTMLElement>(".query");
    if (!token) return;
    const { scrollTop, clientHeight } = box.current!;
    const bottom = token.offsetTop + token.offsetHeight;
    if (token.offsetTop < scrollTop || bottom > scrollTop + clientHeight) {
      box.current!.scrollTop = bottom + 30 - clientHeight;
    }
  }, [query, tokens]);
  if (!chosen.value || count === 0) return null;
  return (
    <section class="reading" aria-labelledby="reading-title">
      <h2 id="reading-title">
        What <bdi class="token">{brief(tokenAt(query), 24)}</bdi> reads
      </h2>
      <p class="quiet">
        position {query}
        {from > 0 && ` · ${share(earlier(list))} goes to the positions before ${from}`}
      </p>
      <div
        class="shaded"
        ref={box}
        role="group"
        aria-labelledby="reading-title"
        tabIndex={0}
        onPointerLeave={() => (hover.value = null)}
      >
        {tokens.map((t, i) => {
          const at = from + i;
          const w = unseen(query, at) ? undefined : list[i];
          const shade = w === undefined ? 0 : level(w);
          return (
            <bdi
              key={i}
              class={[w === undefined && "later", at === query && "query", at === key && "looked"]
                .filter(Boolean)
                .join(" ")}
              style={w === undefined ? {} : { background: fill[shade], color: ink[shade] }}
              title={w === undefined ? `position ${at}` : `position ${at}: ${share(w)}`}
              onPointerEnter={() => w !== undefined && (hover.value = { row: query, column: at })}
              onClick={() => {
                hover.value = null;
                row.value = i === count - 1 ? -1 : at;
                column.value = null;
              }}
            >
              <Piece token={t} />
            </bdi>
          );
        })}
      </div>
      <Top />
    </section>
  );
}

function Top() {
  const { from } = shown.value;
  const { row: query, column: key } = active.value;
  const top = weights.value
    .map((weight, i) => ({ weight, at: from + i }))
    .filter(({ at }) => !unseen(query, at))
    .sort((a, b) => b.weight - a.weight)
    .slice(0, most);
  return (
    <ol class="top" aria-label="The highest weights">
      {top.map(({ weight, at }) => (
        <li key={at} class={at === key ? "looked" : ""} data-key={at} data-weight={weight}>
          <span class="quiet">{at}</span>
          <bdi class="token">{brief(tokenAt(at), 14)}</bdi>
          <svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
            <rect class="bar" width={100 * weight} height="8" />
          </svg>
          <span>{share(weight)}</span>
        </li>
      ))}
    </ol>
  );
}

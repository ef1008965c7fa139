// What one position reads: its text with a shade behind each token, and the highest weights.

import { brief } from "../show";
import { about } from "../state";
import { Piece } from "../tokens/piece";
import { earlier, share } from "./head";
import { level, shades } from "./shade";
import { active, chosen, column, hover, row, shown, tokenAt, weights } from "./state";

/** How many of the highest weights are listed. */
const most = 8;

export function Reading() {
  const { from, count, tokens } = shown.value;
  const list = weights.value;
  if (!chosen.value || count === 0) return null;
  const { row: query, column: key } = active.value;
  const { fill, ink } = shades.value;
  return (
    <section class="reading" aria-labelledby="reading-title">
      <h3 id="reading-title">
        What <bdi class="token">{brief(tokenAt(query), 24)}</bdi> reads
      </h3>
      <p class="quiet">
        position {query}
        {from > 0 && ` · ${share(earlier(list))} goes to the positions before ${from}`}
      </p>
      <p class="shaded" onPointerLeave={() => (hover.value = null)}>
        {tokens.map((t, i) => {
          const w = list[i];
          const shade = w === undefined ? 0 : level(w);
          const at = from + i;
          return (
            <bdi
              key={i}
              class={`${w === undefined ? "later" : ""} ${at === query ? "query" : ""} ${at === key ? "key" : ""}`}
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
      </p>
      <Top />
    </section>
  );
}

function Top() {
  const { from } = shown.value;
  const { row: query, column: key } = active.value;
  const window = about.value?.sliding_window ?? 0;
  const oldest = window > 0 ? query - window + 1 : 0;
  const top = weights.value
    .map((weight, i) => ({ weight, at: from + i }))
    .filter(({ at }) => at >= oldest)
    .sort((a, b) => b.weight - a.weight)
    .slice(0, most);
  return (
    <ol class="top" aria-label="The highest weights">
      {top.map(({ weight, at }) => (
        <li key={at} class={at === key ? "key" : ""} data-key={at} data-weight={weight}>
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

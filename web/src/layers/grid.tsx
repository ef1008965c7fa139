// The grid of the logit lens: rows are layers, columns are positions. The header of tokens sticks to the top
// of the page, so it is outside of the box that scrolls sideways, and follows it.

import { scaleLinear } from "d3-scale";
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { LensAnswer, LensCell } from "../api";
import { brief, percent } from "../show";
import { frontier, inside, lastCell, pin, pinned, pinnedIn, shownIn, tokenOf, visited } from "./data";
import type { Grid, Spot } from "./data";

/** The share of the full shade that a cell of a probability has. The page, its legend and the saved picture
 * use it. */
export const shade = scaleLinear([0, 1], [0, 1]);

/** The height of a row in pixels: the more layers, the less. The contributions beside the grid use it too. */
export function rowHeight(layers: number): number {
  return layers <= 14 ? 34 : layers <= 26 ? 27 : 24;
}

/** Characters of a token that a cell gets at most. What does not fit is cut off with an ellipsis. */
const most = 40;

export function LensGrid({ grid: g }: { grid: Grid }) {
  const head = useRef<HTMLDivElement>(null);
  const body = useRef<HTMLDivElement>(null);
  const [stop, setStop] = useState<Spot | null>(null);
  const fixed = pinnedIn(g);
  const tabStop = inside(g, stop) ? stop : (fixed ?? lastCell(g));
  const shown = shownIn(g);

  // The columns that arrive come into view, until the reader scrolls or visits a cell; in the end the last
  // one, which the model continues. A link's pinned cell comes first.
  const led = useRef(true);
  const goal = fixed ?? frontier(g);
  useLayoutEffect(() => {
    led.current = true;
  }, [g.key]);
  useLayoutEffect(() => {
    const box = body.current!;
    const cell = find(box, goal);
    if (led.current && cell) box.scrollLeft = cell.offsetLeft - box.clientWidth + 1.5 * cell.offsetWidth;
  }, [g.key, goal.position]);

  // The cell that the Tab key reaches, and the pinned one. Preact does not know of these attributes, so the
  // rows need not be drawn again for them.
  useLayoutEffect(() => {
    const tab = find(body.current, tabStop);
    const kept = fixed && find(body.current, fixed);
    tab?.setAttribute("tabindex", "0");
    kept?.setAttribute("aria-selected", "true");
    return () => {
      tab?.setAttribute("tabindex", "-1");
      kept?.removeAttribute("aria-selected");
    };
  });

  const visit = (event: Event) => {
    const spot = spotOf(event.target);
    if (!spot) return;
    visited.value = spot;
    led.current = false;
  };
  const press = (event: KeyboardEvent) => {
    const spot = spotOf(event.target);
    if (!spot || event.altKey) return; // Alt with an arrow is the browser's way back
    if (event.key === "Enter" || event.key === " ") pin(spot);
    else if (event.key === "Escape") pinned.value = [];
    else {
      const next = step(g, spot, event);
      if (!next) return;
      setStop(next);
      find(body.current, next)?.focus();
    }
    event.preventDefault();
  };

  return (
    <div
      class="lens-grid"
      role="grid"
      aria-label="The most probable next token after each layer, at each position"
      aria-rowcount={g.layers + 1}
      aria-colcount={g.positions + 1}
      aria-busy={!g.done}
      style={{ "--n": g.positions, "--h": `${rowHeight(g.layers)}px` }}
      data-ids={g.key}
      data-done={g.done}
    >
      <div class="lens-head" role="rowgroup" ref={head}>
        <div class="lens-row" role="row" aria-rowindex={1}>
          <div class="lens-name" role="columnheader">
            <span>layer ↓</span>
            <span>token →</span>
          </div>
          {g.text.slice(g.from).map((token, i) => (
            <div
              key={i}
              role="columnheader"
              class={`lens-token${g.from + i === shown.position ? " lens-here" : ""}`}
              data-position={g.from + i}
              title={brief(token, 200)}
            >
              <small>{g.from + i}</small>
              <span>{brief(token, most)}</span>
            </div>
          ))}
        </div>
      </div>
      <div
        class="lens-body"
        role="rowgroup"
        ref={body}
        onScroll={(e) => (head.current!.scrollLeft = e.currentTarget.scrollLeft)}
        onWheel={() => (led.current = false)}
        onTouchStart={() => (led.current = false)}
        onMouseOver={visit}
        onFocusIn={(e) => {
          visit(e);
          const spot = spotOf(e.target);
          if (spot) setStop(spot);
        }}
        onClick={(e) => {
          const spot = spotOf(e.target);
          if (spot) pin(spot);
        }}
        onKeyDown={press}
      >
        {g.rows.map((cells, layer) => (
          <Row
            key={layer}
            grid={g}
            layer={layer}
            cells={cells}
            above={g.rows[layer - 1]}
            below={g.rows[layer + 1]}
            answers={g.answers}
            here={shown.layer === layer}
          />
        ))}
      </div>
    </div>
  );
}

interface RowProps {
  grid: Grid;
  layer: number;
  cells: (LensCell | undefined)[];
  above: (LensCell | undefined)[] | undefined;
  below: (LensCell | undefined)[] | undefined;
  answers: (LensAnswer | undefined)[];
  here: boolean; // the panel shows a cell of this row
}

/** A row. Its cells are drawn again only when they change: a visit must not touch thousands of others. */
function Row(props: RowProps) {
  const { grid: g, layer, cells, above, below, answers } = props;
  const drawn = useMemo(
    () =>
      cells.map((cell, i) => {
        const spot = {
          role: "gridcell",
          key: i,
          tabIndex: -1,
          "data-layer": layer,
          "data-position": g.from + i,
        } as const;
        const top = cell?.top[0];
        if (!cell || !top) return <div {...spot} class="lens-cell lens-waiting" />;
        const token = tokenOf(g, top.id);
        const answer = answers[i]?.id;
        const names = ["lens-cell"];
        if (top.id === answer) {
          names.push("lens-final");
          if (above?.[i]?.top[0]?.id === answer) names.push("lens-goes-up");
          if (below?.[i]?.top[0]?.id === answer) names.push("lens-goes-down");
        }
        return (
          <div
            {...spot}
            class={names.join(" ")}
            aria-label={`${brief(token, most)} ${percent(top.probability)}`}
            data-id={top.id}
            data-probability={top.probability}
            data-entropy={cell.entropy}
            data-final={top.id === answer}
            style={{ "--p": shade(top.probability) }}
          >
            {brief(token, most)}
          </div>
        );
      }),
    [g.key, layer, cells, above, below, answers],
  );
  return (
    <div class="lens-row" role="row" aria-rowindex={layer + 2}>
      <div class={`lens-name${props.here ? " lens-here" : ""}`} role="rowheader">
        {layer === 0 ? <abbr title="embeddings">embed.</abbr> : layer}
      </div>
      {drawn}
    </div>
  );
}

/** The legend of the shades and of the frame. */
export function Legend() {
  return (
    <div class="lens-legend">
      <span>
        its probability: 0%{" "}
        <span class="lens-ramp" aria-hidden="true">
          {[0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95].map((p) => (
            <i key={p} style={{ "--p": shade(p) }} />
          ))}
        </span>{" "}
        100%
      </span>
      <span>
        <i class="lens-frame" aria-hidden="true" /> what the last layer says
      </span>
    </div>
  );
}

function spotOf(target: EventTarget | null): Spot | null {
  const cell = target instanceof Element ? target.closest<HTMLElement>(".lens-cell") : null;
  if (!cell) return null;
  return { layer: Number(cell.dataset["layer"]), position: Number(cell.dataset["position"]) };
}

function find(body: HTMLElement | null, spot: Spot): HTMLElement | null {
  return body?.querySelector(`[data-layer="${spot.layer}"][data-position="${spot.position}"]`) ?? null;
}

/** The cell to which a key leads; null if it is another key. */
function step(g: Grid, { layer, position }: Spot, event: KeyboardEvent): Spot | null {
  const end = lastCell(g);
  const far = event.ctrlKey || event.metaKey;
  const to = (l: number, p: number): Spot => ({
    layer: Math.min(Math.max(l, 0), end.layer),
    position: Math.min(Math.max(p, g.from), end.position),
  });
  switch (event.key) {
    case "ArrowUp":
      return to(far ? 0 : layer - 1, position);
    case "ArrowDown":
      return to(far ? end.layer : layer + 1, position);
    case "ArrowLeft":
      return to(layer, far ? g.from : position - 1);
    case "ArrowRight":
      return to(layer, far ? end.position : position + 1);
    case "PageUp":
      return to(layer - 10, position);
    case "PageDown":
      return to(layer + 10, position);
    case "Home":
      return to(far ? 0 : layer, g.from);
    case "End":
      return to(far ? end.layer : layer, end.position);
    default:
      return null;
  }
}


// The distribution of the next token as bars, one a row.

import { scaleLinear } from "d3-scale";
import { useSignal, type Signal } from "@preact/signals";
import { useRef, type MutableRef } from "preact/hooks";
import type { Next, NextCandidate } from "../api";
import { exactPercent } from "../show";
import { about } from "../state";
import { fit, Label, useWidth, width as widthOf } from "./label";
import { steps, title } from "./sampling";

const height = 26; // of a row, in CSS pixels, as all lengths here
const head = 30;
const font = 14;

interface BarsProps {
  next: Next;
  shown: NextCandidate[];
  after: number; // the step whose probabilities the strong bars show
  taken: ReadonlySet<number>; // the ids that the tree has after this text
  take: (c: NextCandidate) => void;
  picture: MutableRef<SVGSVGElement | null>;
}

/** The candidates to show: the model's best, and the best of the last step if they are others. */
export function choose(next: Next, rows: number): NextCandidate[] {
  const last = next.steps.length - 1;
  const best = [...next.candidates].sort((a, b) => b.steps[last]! - a.steps[last]! || a.rank - b.rank);
  const wanted = new Set(best.slice(0, 5).filter((c) => c.steps[last]! > 0));
  return [...next.candidates].sort((a, b) => a.rank - b.rank).filter((c, i) => i < rows || wanted.has(c));
}

/** Whether a step, or one before it, has removed a candidate. */
export function isRemoved(c: NextCandidate, after: number): boolean {
  const by = steps.findIndex((s) => s.name === c.removed);
  return by >= 0 && by <= after;
}

/** What there is to say of a candidate besides its numbers. */
function noteOf(c: NextCandidate, after: number, wide: boolean): string {
  const notes: string[] = [];
  if (about.value!.eos.includes(c.id)) notes.push(wide ? "ends the text" : "ends");
  if (isRemoved(c, after)) notes.push(wide ? `removed by ${title(c.removed!)}` : title(c.removed!));
  return notes.join(" · ");
}

/** The numbers beside the model's own. */
function nameOf(after: number): string {
  return after === steps.length - 1 ? "after all steps" : `after ${steps[after]!.title}`;
}

/** What the picture is, and what the names of its bars say. */
function spoken(after: number, wide: boolean): string {
  const values = wide && after > 0 ? ["the model's probability", ""] : [""];
  values[values.length - 1] = after === 0 ? "the model's probability" : `that ${nameOf(after)}`;
  const names = [...(wide ? ["rank"] : []), "token", ...values].join(", ");
  return `Probabilities of the next token. Each bar: ${names}. The table below has all numbers.`;
}

export function Bars(props: BarsProps) {
  const { shown, after, picture } = props;
  const { box, width } = useWidth();
  const active = useSignal(0);
  const rows = useRef<SVGGElement>(null);
  const wide = width >= 640;
  const left = wide ? 216 : 112;
  const right = Math.max(left + 40, width - (wide ? 228 : 66));
  const most = Math.max(...shown.flatMap((c) => c.steps), 1e-6);
  // A note stands behind its bar, so the longest bars may have to leave room for it.
  const full = scaleLinear([0, most], [left, right]);
  const room = Math.max(
    0,
    ...shown.map((c) => {
      const note = noteOf(c, after, wide);
      if (note === "") return 0;
      const w = widthOf(note, 12, "--sans") + 12;
      return full(Math.max(c.probability, c.steps[after]!)) + w > right ? w : 0;
    }),
  );
  const x = scaleLinear([0, most], [left, right - room]);
  const ticks = x.ticks(wide ? 5 : 3).filter((t) => t > 0);
  const move = (event: KeyboardEvent) => {
    const last = shown.length - 1;
    const to = { ArrowDown: active.value + 1, ArrowUp: active.value - 1, Home: 0, End: last }[event.key];
    if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    active.value = Math.max(0, Math.min(last, to));
    (rows.current!.children[active.value] as SVGGElement).focus();
  };
  return (
    <div class="bars card">
      <div ref={box}>
        {width > 0 && (
          <svg
            ref={picture}
            id="next-bars"
            width={width}
            height={head + height * shown.length + 4}
            role="group"
            aria-label={spoken(after, wide)}
            onKeyDown={move}
          >
            {ticks.map((t) => (
              <g class="tick">
                <line x1={x(t)} x2={x(t)} y1={head - 6} y2={head + height * shown.length} />
                <text x={x(t)} y={head - 12} text-anchor="middle">
                  {`${Number((100 * t).toPrecision(3))}%`}
                </text>
              </g>
            ))}
            <Columns after={after} wide={wide} width={width} />
            <g ref={rows}>
              {shown.map((c, i) => (
                <Row
                  key={i}
                  {...props}
                  c={c}
                  index={i}
                  active={active}
                  x={x}
                  geometry={{ wide, left, width }}
                />
              ))}
            </g>
          </svg>
        )}
      </div>
    </div>
  );
}

/** The titles of the numbers, with the colours of the bars. */
function Columns({ after, wide, width }: { after: number; wide: boolean; width: number }) {
  const y = head - 12;
  const title = after === 0 ? "model" : wide ? nameOf(after) : "after";
  const column = (text: string, right: number, bar: string) => (
    <>
      <rect
        class={`swatch ${bar}`}
        x={right - widthOf(text, 12, "--sans") - 16}
        y={y - 5}
        width={10}
        height={10}
        rx={2}
      />
      <text class="column" x={right} y={y} text-anchor="end">
        {text}
      </text>
    </>
  );
  return (
    <>
      {wide && after > 0 && column("model", width - 132, "pale")}
      {column(title, width - 2, "strong")}
    </>
  );
}

interface RowProps extends BarsProps {
  c: NextCandidate;
  index: number;
  active: Signal<number>;
  x: (probability: number) => number;
  geometry: { wide: boolean; left: number; width: number };
}

function Row({ c, index, active, x, after, taken, take, geometry, shown }: RowProps) {
  const { wide, left, width } = geometry;
  const p = c.steps[after] ?? 0;
  const removed = isRemoved(c, after);
  const ends = about.value!.eos.includes(c.id);
  const note = noteOf(c, after, wide);
  const end = Math.max(x(c.probability), x(p)) + 8;
  const middle = height / 2;
  const label = fit(c, font, wide ? 164 : 94);
  const model = wide && after > 0 ? exactPercent(c.probability) : "";
  const value = removed ? "—" : exactPercent(p);
  const rank = wide ? `${c.rank}` : "";
  const texts = [rank, label.map((part) => part.text).join(""), note, model, value];
  return (
    // The button's name has its texts as they are, so that one can speak to it. Blanks part them.
    <g
      role="button"
      class={`bar${removed ? " removed" : ""}`}
      transform={`translate(0 ${head + index * height})`}
      tabindex={Math.min(active.value, shown.length - 1) === index ? 0 : -1}
      aria-label={`Take ${texts.filter((t) => t !== "").join(" ")}`}
      data-token-id={c.id}
      data-rank={c.rank}
      data-logit={c.logit}
      data-probability={c.probability}
      data-after={p}
      data-removed={c.removed}
      data-ends={ends}
      onClick={() => take(c)}
      onFocus={() => (active.value = index)}
      onKeyDown={(e) => {
        if (e.key !== "Enter" && e.key !== " ") return;
        e.preventDefault();
        take(c);
      }}
    >
      <rect class="hit" x={0} y={0} width={width} height={height} rx={5} />
      {rank !== "" && (
        <text class="rank" x={26} y={middle} text-anchor="end">
          {rank}
        </text>
      )}{" "}
      {taken.has(c.id) && <circle class="taken" cx={wide ? 36 : 3} cy={middle} r={3} />}
      <text class="token" x={left - 10} y={middle} text-anchor="end">
        <Label list={label} />
      </text>{" "}
      <rect
        class="pale"
        x={left}
        y={4}
        width={Math.max(1, x(c.probability) - left)}
        height={height - 8}
        rx={3}
      />
      {p > 0 && (
        <rect class="strong" x={left} y={8} width={Math.max(1, x(p) - left)} height={height - 16} rx={2} />
      )}
      {note !== "" && (
        <text class="note" x={end} y={middle}>
          {note}
        </text>
      )}{" "}
      {model !== "" && (
        <text class="value" x={width - 132} y={middle} text-anchor="end">
          {model}
        </text>
      )}{" "}
      <text class="value strong" x={width - 2} y={middle} text-anchor="end">
        {value}
      </text>
    </g>
  );
}

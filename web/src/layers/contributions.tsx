// Direct logit attribution: how much the embedding, each layer's attention and each layer's MLP add to the
// logit of a token after the last position. The rows have the height of the grid's rows, so both can stand
// side by side.

import { signal } from "@preact/signals";
import { scaleLinear } from "d3-scale";
import { useRef } from "preact/hooks";
import { get, type Contribution, type Token } from "../api";
import { useWork } from "../load";
import { Numbers, Status } from "../parts";
import { saveJSON, saveSVG } from "../save";
import { shared } from "../share";
import { brief, digits } from "../show";
import { exists } from "../state";
import { cellAt, grid, lastCell, pinnedIn, tokenOf } from "./data";
import type { Grid } from "./data";
import { rowHeight } from "./grid";
import { useWidth } from "./width";

/** The token whose logit is explained, and perhaps one to compare it with; empty: what the model says. */
export const chosen = shared<number[]>(
  "logit",
  [],
  (v) => v.length <= 2 && v.every((n) => Number.isSafeInteger(n) && n >= 0),
);

export function choose(id: number): void {
  const other = chosen.value[1];
  chosen.value = other === undefined || other === id ? [id] : [id, other];
}

/** The last answer and the ids and tokens that it is for. */
const result = signal<{ key: string; tokens: Contribution[] } | null>(null);

/** What the picture shows: a token's contributions, or the differences of two tokens'. */
interface Parts {
  embedding: number;
  attention: number[]; // [model's layers]
  mlp: number[]; // likewise
  sum: number;
  logit: number;
}

export function Contributions({ grid: g }: { grid: Grid }) {
  const finals = (cellAt(g, lastCell(g))?.top ?? []).slice(0, 5).map((t) => t.id);
  const named = chosen.value.every(exists) ? chosen.value : []; // a link may come from another model
  const first = named[0] ?? finals[0];
  const second = named[1];
  const want = first === undefined ? [] : second === undefined ? [first] : [first, second];
  const key = want.length === 0 ? "" : `${g.key}|${want}`;
  const loading = useWork(key, async (abort) => {
    if (key === "" || result.value?.key === key) return;
    const body = { ids: g.text.map((t) => t.id), tokens: want };
    const answer = await get<{ tokens: Contribution[] }>("explore/contributions", body, abort);
    result.value = { key, tokens: answer.tokens };
  });
  const known = result.value?.tokens ?? [];
  const name = (id: number): Token =>
    g.tokens.get(id) ?? known.find((t) => t.id === id) ?? tokenOf(g, id);
  return (
    <section class="lens-parts" aria-label="What adds to the logit">
      <Choice grid={g} finals={finals} first={first} second={second} name={name} />
      <div>
        {result.value && <Picture stale={result.value.key !== key} name={name} />}
        <Status loading={loading} />
      </div>
    </section>
  );
}

interface ChoiceProps {
  grid: Grid;
  finals: number[]; // the last layer's most probable tokens
  first: number | undefined;
  second: number | undefined;
  name: (id: number) => Token;
}

function Choice({ grid: g, finals, first, second, name }: ChoiceProps) {
  if (first === undefined) {
    return (
      <div class="lens-choice">
        <h2>What adds to the logit?</h2>
        <p class="quiet">The last layer names the tokens to choose from.</p>
      </div>
    );
  }
  const pinned = pinnedIn(g);
  const near = (pinned ? cellAt(g, pinned) : undefined)?.top.map((t) => t.id) ?? [];
  const buttons = [...new Set([...finals, first])];
  const others = [...new Set([...finals, ...near, ...(second === undefined ? [] : [second])])];
  return (
    <div class="lens-choice">
      <h2>What adds to the logit?</h2>
      <div role="group" aria-label="Token whose logit is explained">
        {buttons.map((id) => (
          <button
            type="button"
            key={id}
            aria-pressed={id === first}
            data-id={id}
            title={brief(name(id), 200)}
            onClick={() => choose(id)}
          >
            {brief(name(id), 12)}
          </button>
        ))}
      </div>
      <label>
        compared with{" "}
        <select
          value={second ?? ""}
          onChange={(e) => {
            const value = e.currentTarget.value;
            chosen.value = value === "" ? [first] : [first, Number(value)];
          }}
        >
          <option value="">nothing</option>
          {others
            .filter((id) => id !== first)
            .map((id) => (
              <option key={id} value={id}>
                {brief(name(id), 20)}
              </option>
            ))}
        </select>
      </label>
    </div>
  );
}

function difference([a, b]: Contribution[]): Parts {
  if (!b) return a!;
  return {
    embedding: a!.embedding - b.embedding,
    attention: a!.attention.map((v, i) => v - b.attention[i]!),
    mlp: a!.mlp.map((v, i) => v - b.mlp[i]!),
    sum: a!.sum - b.sum,
    logit: a!.logit - b.logit,
  };
}

/** The height above the first row, which is that of the grid's header. */
const headHeight = 46;
const names = 34; // the width of the layers' names
const sums = 46; // and of the sums

interface PictureProps {
  stale: boolean; // another token's picture is on its way
  name: (id: number) => Token;
}

function Picture({ stale, name }: PictureProps) {
  const box = useRef<HTMLDivElement>(null);
  const picture = useRef<SVGSVGElement>(null);
  const width = useWidth(box, 270);
  const { tokens } = result.value!;
  const parts = difference(tokens);
  const row = rowHeight(parts.attention.length + 1);
  const title = tokens.map((t) => brief(name(t.id), tokens.length > 1 ? 8 : 14)).join(" minus ");
  const all = [parts.embedding, ...parts.attention, ...parts.mlp];
  const x = scaleLinear([Math.min(0, ...all), Math.max(0, ...all)], [names + 6, width - sums - 8]).nice(4);
  const bottom = headHeight + row * (parts.attention.length + 1);
  let sum = parts.embedding;
  return (
    <div class={stale ? "lens-stale" : ""} ref={box}>
      <svg
        ref={picture}
        class="lens-bars"
        viewBox={`0 0 ${width} ${bottom + 44}`}
        width={width}
        height={bottom + 44}
        role="img"
        aria-label={`What adds to the logit of ${title}: ${strongest(parts)}; sum ${digits(parts.sum)}`}
        data-token={tokens[0]!.id}
        data-other={tokens[1]?.id}
        data-sum={parts.sum}
        data-logit={parts.logit}
      >
        <Keys />
        <text class="lens-tick" x={width} y={headHeight - 8} text-anchor="end">
          sum
        </text>
        {x.ticks(4).map((v) => (
          <g key={v}>
            <line
              class={v === 0 ? "lens-zero" : "lens-rule"}
              x1={x(v)}
              x2={x(v)}
              y1={headHeight - 4}
              y2={bottom}
            />
            <text class="lens-tick" x={x(v)} y={headHeight - 8} text-anchor="middle">
              {digits(v, v % 1 ? 1 : 0)}
            </text>
          </g>
        ))}
        <Line row={row} layer={0} name="emb." sum={sum} width={width} />
        <Bar
          x={x}
          part="embedding"
          layer={0}
          value={parts.embedding}
          y={headHeight + row / 4}
          h={row / 2}
        />
        {parts.attention.map((attention, i) => {
          const y = headHeight + row * (i + 1);
          const h = (row - 6) / 2;
          sum += attention + parts.mlp[i]!;
          return (
            <g key={i}>
              <Line row={row} layer={i + 1} name={`${i + 1}`} sum={sum} width={width} />
              <Bar x={x} part="attention" layer={i + 1} value={attention} y={y + 2.5} h={h} />
              <Bar x={x} part="mlp" layer={i + 1} value={parts.mlp[i]!} y={y + 3.5 + h} h={h} />
            </g>
          );
        })}
        <line class="lens-rule" x1={0} x2={width} y1={bottom + 1} y2={bottom + 1} />
        <text class="lens-total" x={0} y={bottom + 19}>
          sum of all parts
        </text>
        <text class="lens-total" x={width} y={bottom + 19} text-anchor="end">
          {digits(parts.sum, 3)}
        </text>
        <text class="lens-total" x={0} y={bottom + 37}>{`logit of ${title}`}</text>
        <text class="lens-total" x={width} y={bottom + 37} text-anchor="end">
          {digits(parts.logit, 3)}
        </text>
      </svg>
      <p class="quiet">
        A token's logit is its score: the higher, the more probable. A layer has two parts: attention, which
        reads other positions, and an MLP, which computes with its own position. A bar shows what a part adds
        to the score at the last position. The bars add up to the logit, up to rounding.
      </p>
      <div class="lens-save">
        <button type="button" onClick={() => saveSVG("phi3-contributions", picture.current!)}>
          Save bars (SVG)
        </button>
        <button type="button" onClick={() => saveJSON("phi3-contributions", { ids: idsOf(), tokens })}>
          JSON
        </button>
      </div>
      <Numbers title="The contributions as a table">{() => <Table parts={parts} title={title} />}</Numbers>
    </div>
  );
}

/** The legend. It is a part of the picture, so that the saved one has it too. */
function Keys() {
  return (
    <>
      <rect class="lens-attention" x={0} y={4} width={11} height={11} />
      <text class="lens-name-of-key" x={16} y={14}>
        attention
      </text>
      <rect class="lens-mlp" x={86} y={4} width={11} height={11} />
      <text class="lens-name-of-key" x={102} y={14}>
        MLP
      </text>
      <rect class="lens-embedding" x={142} y={4} width={11} height={11} />
      <text class="lens-name-of-key" x={158} y={14}>
        embedding
      </text>
    </>
  );
}

function idsOf(): number[] {
  return grid.value?.text.map((t) => t.id) ?? [];
}

/** A layer's name and the sum up to its end. */
function Line(props: { row: number; layer: number; name: string; sum: number; width: number }) {
  const y = headHeight + props.row * (props.layer + 0.5) + 4;
  return (
    <>
      <text class="lens-tick" x={names - 4} y={y} text-anchor="end">
        {props.name}
      </text>
      <text
        class="lens-tick"
        x={props.width}
        y={y}
        text-anchor="end"
        data-layer={props.layer}
        data-so-far={props.sum}
      >
        {digits(Math.abs(props.sum) < 0.05 ? 0 : props.sum, 1)}
      </text>
    </>
  );
}

interface BarProps {
  x: (value: number) => number;
  part: "embedding" | "attention" | "mlp";
  layer: number;
  value: number;
  y: number;
  h: number;
}

function Bar({ x, part, layer, value, y, h }: BarProps) {
  return (
    <rect
      class={`lens-${part}`}
      x={Math.min(x(0), x(value))}
      y={y}
      width={Math.max(Math.abs(x(value) - x(0)), 0.5)}
      height={h}
      data-part={part}
      data-layer={layer}
      data-value={value}
    >
      <title>{`${label(part, layer)}: ${digits(value, 3)}`}</title>
    </rect>
  );
}

function label(part: string, layer: number): string {
  if (part === "embedding") return "embedding";
  return `${part === "mlp" ? "MLP" : "attention"} of layer ${layer}`;
}

/** The three parts that add or take most, as text. */
function strongest(parts: Parts): string {
  const all = [
    { name: "embedding", value: parts.embedding },
    ...parts.attention.map((value, i) => ({ name: label("attention", i + 1), value })),
    ...parts.mlp.map((value, i) => ({ name: label("mlp", i + 1), value })),
  ];
  all.sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
  return all.slice(0, 3).map((p) => `${p.name} ${digits(p.value)}`).join(", ");
}

function Table({ parts, title }: { parts: Parts; title: string }) {
  let sum = parts.embedding;
  return (
    <table>
      <caption>{title}</caption>
      <thead>
        <tr>
          <th scope="col">layer</th>
          <th scope="col">attention</th>
          <th scope="col">MLP</th>
          <th scope="col">sum so far</th>
        </tr>
      </thead>
      <tbody>
        <tr>
          <th scope="row">embedding</th>
          <td colSpan={2}>{digits(parts.embedding, 3)}</td>
          <td>{digits(sum, 3)}</td>
        </tr>
        {parts.attention.map((attention, i) => {
          sum += attention + parts.mlp[i]!;
          return (
            <tr key={i}>
              <th scope="row">{i + 1}</th>
              <td>{digits(attention, 3)}</td>
              <td>{digits(parts.mlp[i]!, 3)}</td>
              <td>{digits(sum, 3)}</td>
            </tr>
          );
        })}
        <tr>
          <th scope="row">the model's logit</th>
          <td colSpan={2} />
          <td>{digits(parts.logit, 3)}</td>
        </tr>
      </tbody>
    </table>
  );
}

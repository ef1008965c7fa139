// The view of attention: a layer's heads, one of them large, and what a position reads with it. The file
// matrix.tsx says which attributes tests read.

import { render } from "preact";
import { useEffect } from "preact/hooks";
import { get, type Attention as Response } from "../api";
import { useWork } from "../load";
import { NoText, Numbers, Status } from "../parts";
import { saveJSON, saveSVG } from "../save";
import { visible } from "../show";
import { about, ids, text } from "../state";
import "./attention.css";
import { label, labelled, measures, share } from "./head";
import { Heads } from "./heads";
import { Drawing, Matrix } from "./matrix";
import { plan } from "./plan";
import { Reading } from "./reading";
import { levels, shades } from "./shade";
import { active, answer, asked, chosen, hover, layer, shown, tokenAt, weights } from "./state";

export function Attention() {
  const loading = useWork(JSON.stringify([asked.value, ids.value]), async (signal) => {
    const question = { ids: ids.peek(), text: text.peek() };
    if (question.ids.length === 0) {
      answer.value = null;
      return;
    }
    const body = { ids: question.ids, layer: asked.peek(), from: 0 };
    const attention = await get<Response>("explore/attention", body, signal);
    hover.value = null;
    answer.value = { ...question, attention };
  });
  useEffect(() => () => void (hover.value = null), []);
  const a = answer.value;
  const stale = loading.busy.value ? "stale" : "";
  return (
    <div class="attention">
      <p class="explain">
        Each head of a layer lets a token read earlier ones. A row shows how one token shares its attention:
        its weights sum to 100%.
      </p>
      <div class="row">
        <Layer />
        <Status loading={loading} />
      </div>
      {ids.value.length === 0 && <NoText />}
      {a && chosen.value && ids.value.length > 0 && (
        <div class={`parts ${stale}`}>
          <Heads />
          <section class="large" aria-labelledby="large-title">
            <Title />
            <Matrix />
            <Legend />
          </section>
          <Reading />
          <Measures />
          <Data />
        </div>
      )}
    </div>
  );
}

function Layer() {
  const most = about.value?.layers ?? 1;
  const change = (event: { currentTarget: HTMLInputElement }) => {
    const value = event.currentTarget.valueAsNumber;
    if (Number.isSafeInteger(value) && value >= 1 && value <= most) layer.value = value;
  };
  return (
    <div class="layer row">
      <label for="layer">Layer</label>
      <input
        id="layer"
        type="range"
        min={1}
        max={most}
        value={asked.value}
        aria-valuetext={`layer ${asked.value} of ${most}`}
        onInput={change}
      />
      <input
        type="number"
        min={1}
        max={most}
        value={asked.value}
        aria-label="Layer's number"
        onInput={change}
        onBlur={(e) => (e.currentTarget.value = `${asked.value}`)}
      />
      <span class="quiet">of {most}</span>
    </div>
  );
}

function Title() {
  const h = chosen.value!;
  const { from, count } = shown.value;
  const window = about.value?.sliding_window ?? 0;
  const value = labelled(h);
  return (
    <>
      <h2 id="large-title">
        Layer {answer.value!.attention.layer}, head {h.head}
        {value !== null && <span class="tag">{`${label(h)} ${Math.round(100 * value)}%`}</span>}
      </h2>
      <p class="quiet">
        row: the token that looks · column: the token it looks at
        {from > 0 && ` · the last ${count} of ${from + count} positions; “earlier” is all before them`}
        {window > 0 && window < from + count && ` · sliding window: a position sees the last ${window}`}
      </p>
    </>
  );
}

/** The weights of some shades. Their places follow the square root, as the shades do. */
function Legend() {
  return (
    <svg class="legend" viewBox="0 0 290 34" role="img" aria-label="Shades from pale, 0%, to deep, 100%">
      <Scale id="heat" />
    </svg>
  );
}

function Scale({ id }: { id: string }) {
  const marks = [0, 0.01, 0.05, 0.2, 0.5, 1];
  const stops = 32;
  return (
    <>
      <linearGradient id={id}>
        {Array.from({ length: stops + 1 }, (_, i) => (
          <stop
            key={i}
            offset={i / stops}
            stop-color={shades.value.fill[Math.round((i * (levels - 1)) / stops)]}
          />
        ))}
      </linearGradient>
      <rect x={10} y={2} width={260} height={12} rx={2} fill={`url(#${id})`} />
      {marks.map((m) => (
        <text key={m} x={10 + 260 * Math.sqrt(m)} y={29} text-anchor="middle">{`${100 * m}%`}</text>
      ))}
    </>
  );
}

function Measures() {
  const h = chosen.value!;
  return (
    <section class="measures" aria-labelledby="measures-title">
      <h2 id="measures-title">What head {h.head} looks at</h2>
      <dl>
        {measures.map(({ key, label, name, meaning }) => {
          const value = h.measures[key];
          return (
            <div
              key={key}
              class={h.label === label ? "best" : ""}
              data-measure={key}
              data-value={value ?? undefined}
            >
              <dt>
                {name} <b>{value === null ? "–" : share(value)}</b>
              </dt>
              <dd>
                <svg viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">
                  <rect class="back" width="100" height="6" />
                  <rect class="bar" width={100 * (value ?? 0)} height="6" />
                </svg>
                {value === null ? "No token occurs twice in this text." : meaning}
              </dd>
            </div>
          );
        })}
      </dl>
      <p class="quiet">Means over the rows that are shown, without position 0, which can read only itself.</p>
    </section>
  );
}

function Data() {
  const a = answer.value!;
  const h = chosen.value!;
  const name = `phi3-attention-layer-${a.attention.layer}`;
  return (
    <div class="data">
      <div class="row">
        <button type="button" onClick={() => saveMatrix(`${name}-head-${h.head}`)}>
          Save the head as SVG
        </button>
        <button type="button" onClick={() => saveJSON(name, { ids: a.ids, ...a.attention })}>
          Save the layer as JSON
        </button>
      </div>
      <Numbers title="Numbers of the row">{() => <Table />}</Numbers>
    </div>
  );
}

function Table() {
  const { from } = shown.value;
  const { row: query } = active.value;
  return (
    <table id="weights" data-head={chosen.value!.head} data-query={query}>
      <caption>
        Head {chosen.value!.head}: what <bdi>{visible(tokenAt(query))}</bdi> (position {query}) reads
      </caption>
      <thead>
        <tr>
          <th scope="col">position</th>
          <th scope="col">token</th>
          <th scope="col">weight</th>
        </tr>
      </thead>
      <tbody>
        {weights.value.map((w, i) => (
          <tr key={i} data-key={from + i} data-weight={w}>
            <td>{from + i}</td>
            <td>
              <bdi class="token">{visible(tokenAt(from + i))}</bdi>
            </td>
            <td>{w.toPrecision(6)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** Draws the chosen head once more, as SVG, and saves it. */
function saveMatrix(name: string): void {
  const { from, tokens } = shown.value;
  const p = plan(tokens, from > 0, 720);
  const place = document.body.appendChild(document.createElement("div"));
  place.className = "attention drawing";
  const width = Math.max(p.width, 360);
  const height = p.height + 80;
  const h = chosen.value!;
  const measure = labelled(h) === null ? "" : ` · ${label(h)} ${share(labelled(h)!)}`;
  render(
    <svg width={width} height={height} viewBox={`0 0 ${width} ${height}`}>
      <text class="title" x={8} y={p.height + 24}>
        {`${about.value?.name ?? ""}: layer ${answer.value!.attention.layer}, head ${h.head}${measure}`}
      </text>
      <Drawing head={h} p={p} />
      <g class="legend" transform={`translate(4 ${p.height + 38})`}>
        <Scale id="heat-saved" />
      </g>
    </svg>,
    place,
  );
  saveSVG(name, place.querySelector("svg")!);
  render(null, place);
  place.remove();
}

// The panel beside the grid: what the model would say at the cell that is pinned or visited, and how the
// last layer's answer rises in its column.

import { scaleLinear, scaleLog } from "d3-scale";
import { area, line } from "d3-shape";
import { useRef } from "preact/hooks";
import type { LensAnswer, LensCell } from "../api";
import { Numbers } from "../parts";
import { saveSVG } from "../save";
import { brief, digits, percent } from "../show";
import { chosen, choose } from "./contributions";
import { cellAt, inside, layerName, pinned, pinnedIn, shownIn, tokenOf, visited } from "./data";
import type { Grid, Spot } from "./data";
import { useWidth } from "./width";

export function Panel({ grid: g }: { grid: Grid }) {
  const spot = shownIn(g);
  const cell = cellAt(g, spot);
  const answer = g.answers[spot.position - g.from];
  const isPinned = pinnedIn(g) !== null;
  return (
    <aside
      class="lens-panel"
      aria-label="The cell"
      data-layer={spot.layer}
      data-position={spot.position}
      onKeyDown={(e) => {
        if (e.key === "Escape") pinned.value = [];
      }}
    >
      <header>
        <h2>
          After {layerName(spot.layer)} <small>at {spot.position}</small>{" "}
          <bdi class="lens-said">{brief(g.text[spot.position]!, 24)}</bdi>
        </h2>
        {isPinned && (
          <button type="button" onClick={() => (pinned.value = [])} title="Escape">
            unpin
          </button>
        )}
      </header>
      {cell ? <Distribution grid={g} cell={cell} /> : <p class="quiet">not computed yet</p>}
      <Facts grid={g} spot={spot} cell={cell} answer={answer} />
      {answer && <Rise grid={g} spot={spot} answer={answer} />}
      <p class="quiet lens-other">
        {isPinned ? <Other grid={g} pinned={spot} /> : "To keep a cell here, click it or press Enter."}
      </p>
    </aside>
  );
}

const length = scaleLinear([0, 1], [0, 100]);

function Distribution({ grid: g, cell }: { grid: Grid; cell: LensCell }) {
  return (
    <ol class="lens-top">
      {cell.top.map((t, i) => {
        const token = tokenOf(g, t.id);
        return (
          <li key={i} data-rank={i + 1} data-id={t.id} data-probability={t.probability} data-logit={t.logit}>
            <button
              type="button"
              aria-pressed={chosen.value[0] === t.id}
              title={`${brief(token, 200)}: show what adds to its logit`}
              onClick={() => choose(t.id)}
            >
              {brief(token, 40)}
            </button>
            <span class="lens-bar">
              <i style={{ width: `${length(t.probability)}%` }} />
            </span>
            <span class="lens-number">{percent(t.probability)}</span>
          </li>
        );
      })}
    </ol>
  );
}

interface FactsProps {
  grid: Grid;
  spot: Spot;
  cell: LensCell | undefined;
  answer: LensAnswer | undefined;
}

function Facts({ grid: g, spot, cell, answer }: FactsProps) {
  return (
    <dl class="lens-facts">
      <dt>entropy</dt>
      <dd>
        {cell && (
          <>
            {digits(cell.entropy)} nats{" "}
            <span class="quiet">≈ {equal(cell.entropy)} equal choices</span>
          </>
        )}
      </dd>
      <dt>last layer</dt>
      <dd>
        {answer && (
          <>
            <bdi class="lens-said">{brief(tokenOf(g, answer.id), 24)}</bdi> here rank{" "}
            {answer.ranks[spot.layer]!.toLocaleString("en")}, {percent(answer.probabilities[spot.layer]!)}
          </>
        )}
      </dd>
    </dl>
  );
}

/** The number of equally probable tokens that have this entropy. */
function equal(nats: number): string {
  const n = Math.exp(nats);
  return n < 10 ? n.toFixed(1) : Math.round(n).toLocaleString("en");
}

/** The cell under the pointer while another is pinned. */
function Other({ grid: g, pinned: fixed }: { grid: Grid; pinned: Spot }) {
  const spot = visited.value;
  if (!inside(g, spot) || (spot.layer === fixed.layer && spot.position === fixed.position)) return null;
  const top = cellAt(g, spot)?.top[0];
  if (!top) return null;
  return (
    <>
      {layerName(spot.layer)}, at {spot.position}:{" "}
      <bdi class="lens-said">{brief(tokenOf(g, top.id), 20)}</bdi> {percent(top.probability)}
    </>
  );
}

const margin = { left: 44, right: 12 };
const chanceTop = 20;
const chanceHeight = 70;
const rankTop = chanceTop + chanceHeight + 34;
const rankHeight = 54;
const height = rankTop + rankHeight + 20;

/** How the last layer's answer at a position rises over the layers: its probability and its rank. */
function Rise({ grid: g, spot, answer }: { grid: Grid; spot: Spot; answer: LensAnswer }) {
  const box = useRef<HTMLDivElement>(null);
  const picture = useRef<SVGSVGElement>(null);
  const width = useWidth(box, 300);
  const last = g.layers - 1;
  const name = brief(tokenOf(g, answer.id), 16);
  const x = scaleLinear([0, last], [margin.left, width - margin.right]);
  const chance = scaleLinear([0, 1], [chanceTop + chanceHeight, chanceTop]);
  const worst = Math.max(10, ...answer.ranks);
  const rank = scaleLog([1, worst], [rankTop, rankTop + rankHeight]);
  const p = answer.probabilities;
  const index = (_: number, layer: number) => x(layer);
  const fill = area<number>().x(index).y0(chance(0)).y1((v) => chance(v))(p)!;
  const curve = line<number>().x(index).y((v) => chance(v))(p)!;
  const steps = line<number>().x(index).y((v) => rank(v))(answer.ranks)!;
  const ranks = [1, 10, 100, 1000, 10_000, 100_000].filter((r) => r <= worst);
  const layers = last <= 6 ? x.ticks(last) : x.ticks(5);
  return (
    <div class="lens-rise" ref={box}>
      <svg
        ref={picture}
        viewBox={`0 0 ${width} ${height}`}
        width={width}
        height={height}
        role="img"
        aria-label={`${name} over the layers: from ${percent(p[0]!)} and rank ${answer.ranks[0]} after the
          embeddings to ${percent(p[last]!)} and rank ${answer.ranks[last]} after the last layer`}
      >
        <text class="lens-title" x={0} y={10}>{`probability of ${name}`}</text>
        {[0, 0.5, 1].map((v) => (
          <Rule key={v} y={chance(v)} width={width} name={`${100 * v}%`} />
        ))}
        <path class="lens-fill" d={fill} />
        <path class="lens-curve" d={curve} />
        <text class="lens-title" x={0} y={rankTop - 10}>{`rank of ${name}`}</text>
        {ranks.map((r) => (
          <Rule key={r} y={rank(r)} width={width} name={r < 1000 ? `${r}` : `${r / 1000}k`} />
        ))}
        <path class="lens-curve" d={steps} />
        <path class="lens-now" d={`M${x(spot.layer)} ${chanceTop}V${rankTop + rankHeight}`} />
        <circle class="lens-dot" cx={x(spot.layer)} cy={chance(p[spot.layer]!)} r={3.5} />
        <circle class="lens-dot" cx={x(spot.layer)} cy={rank(answer.ranks[spot.layer]!)} r={3.5} />
        {layers.map((l) => (
          <text key={l} class="lens-tick" x={x(l)} y={height - 4} text-anchor="middle">
            {l === 0 ? "emb." : l}
          </text>
        ))}
      </svg>
      <div class="lens-save">
        <Numbers title="Numbers">
          {() => (
            <table>
              <thead>
                <tr>
                  <th scope="col">layer</th>
                  <th scope="col">probability</th>
                  <th scope="col">rank</th>
                </tr>
              </thead>
              <tbody>
                {p.map((v, l) => (
                  <tr key={l}>
                    <th scope="row">{layerName(l)}</th>
                    <td>{percent(v)}</td>
                    <td>{answer.ranks[l]!.toLocaleString("en")}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          )}
        </Numbers>
        <button type="button" onClick={() => saveSVG("phi3-rise", picture.current!)}>
          Save curve (SVG)
        </button>
      </div>
    </div>
  );
}

/** A line of the scale, with its value. */
function Rule({ y, width, name }: { y: number; width: number; name: string }) {
  return (
    <>
      <line class="lens-rule" x1={margin.left} x2={width - margin.right} y1={y} y2={y} />
      <text class="lens-tick" x={margin.left - 6} y={y + 4} text-anchor="end">
        {name}
      </text>
    </>
  );
}

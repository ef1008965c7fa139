// The view "Layers": the logit lens of every layer and position, the distribution at a cell, and what each
// part of the model adds to a logit.
//
// Tests compare the page with phi3 next-token --layers --json through these attributes. Numbers have all
// their digits. Layer 0 is the embeddings; positions count from the text's beginning.
//
//	.lens-grid       data-ids (of the text, with commas), data-done ("true" when all cells are there)
//	.lens-cell       data-layer, data-position, data-id and data-probability of its most probable token,
//	                 data-entropy (nats), data-final ("true" if it is the token that the last layer says)
//	.lens-token      data-position; the token's text is in its <span>
//	.lens-panel      data-layer, data-position of the cell that it shows
//	.lens-top li     data-rank, data-id, data-probability, data-logit
//	.lens-bars       data-token, data-other (the token to compare with), data-sum, data-logit
//	.lens-bars rect  data-part (embedding, attention, mlp), data-layer, data-value
//	.lens-bars text  [data-so-far]: the sum of the parts up to data-layer
//
// The signals of the link are cell=[layer,position] and logit=[token] or [token,other].

import { useWork } from "../load";
import { NoText, Numbers, Status } from "../parts";
import { saveDrawing, saveJSON } from "../save";
import { brief, percent } from "../show";
import { ids, text } from "../state";
import { Contributions } from "./contributions";
import { cellAt, grid, layerName, load, merged, tokenOf } from "./data";
import type { Grid } from "./data";
import { draw } from "./draw";
import { Legend, LensGrid } from "./grid";
import "./layers.css";
import { Panel } from "./panel";

export function Layers() {
  const list = text.value;
  const key = ids.value.join(",");
  const loading = useWork(key, (abort) => load(key, list, abort));
  const g = grid.value;
  const names = ["lens"];
  if (g && g.key !== key) names.push("lens-stale");
  if (g && g.positions > 8) names.push("lens-wide");
  return (
    <div class={names.join(" ")}>
      <div class="lens-top-line">
        <p class="lens-about">
          The <b>logit lens</b> asks the model after each layer: what would you say if you ended here? Each
          column is a token that the model has read. Each cell shows the token that would follow it; the
          stronger the color, the surer the model. Read a column downwards to see how an answer rises.
        </p>
        {g && key !== "" && <Legend />}
        <div class="lens-line">
          {g && key !== "" && <Progress grid={g} busy={loading.busy.value} />}
          {key === "" ? <NoText /> : <Status loading={loading} />}
        </div>
      </div>
      {g && key !== "" && (
        <>
          <Main grid={g} />
          <Contributions grid={g} />
          <Panel grid={g} />
        </>
      )}
    </div>
  );
}

function Main({ grid: g }: { grid: Grid }) {
  return (
    <div class="lens-main">
      <LensGrid grid={g} />
      <div class="lens-save">
        <button type="button" onClick={() => saveDrawing("phi3-layers", draw(g))}>
          Save grid (SVG)
        </button>
        <button type="button" onClick={() => saveJSON("phi3-layers", merged(g))}>
          JSON
        </button>
      </div>
      <Numbers title="The grid as a table">{() => <Table grid={g} />}</Numbers>
    </div>
  );
}

function Progress({ grid: g, busy }: { grid: Grid; busy: boolean }) {
  const all = g.layers * g.positions;
  return (
    <p class="lens-progress">
      {!g.done ? (
        <label>
          <progress max={all} value={g.filled} />{" "}
          {g.filled.toLocaleString("en")} of {all.toLocaleString("en")} cells{!busy && ", stopped"}
        </label>
      ) : (
        g.from > 0 && (
          <span class="quiet">
            The last {g.positions} of {g.text.length.toLocaleString("en")} tokens.
          </span>
        )
      )}
    </p>
  );
}

function Table({ grid: g }: { grid: Grid }) {
  return (
    <table>
      <thead>
        <tr>
          <th scope="col">layer</th>
          {g.text.slice(g.from).map((t, i) => (
            <th scope="col" key={i}>
              {g.from + i} <bdi>{brief(t, 20)}</bdi>
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {g.rows.map((row, layer) => (
          <tr key={layer}>
            <th scope="row">{layerName(layer)}</th>
            {row.map((_, i) => {
              const top = cellAt(g, { layer, position: g.from + i })?.top[0];
              return (
                <td key={i}>
                  {top && (
                    <>
                      <bdi>{brief(tokenOf(g, top.id), 20)}</bdi> {percent(top.probability)}
                    </>
                  )}
                </td>
              );
            })}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

// The view of the KV cache: one text is generated twice, with the cache and without it, and the page shows
// the two runs side by side.
//
// Tests read #totals: data-state, data-steps, data-computed-cached, data-computed-plain, data-ms-cached and
// data-ms-plain; #verdict: data-verdict ("running", "good", "bad" or "none") and data-rows. lane.tsx says
// what a lane has.

import { useEffect } from "preact/hooks";
import { Numbers } from "../parts";
import { saveJSON, saveSVG } from "../save";
import { visible } from "../show";
import { ids, prompt } from "../state";
import "./cache.css";
import { Chart } from "./chart";
import { Hashes } from "./hashes";
import { Lane } from "./lane";
import {
  both,
  chosen,
  clear,
  count,
  duration,
  generate,
  most,
  positions,
  room,
  run,
  stop,
  time,
  typical,
} from "./run";

export function Cache() {
  const key = JSON.stringify(ids.value);
  useEffect(() => {
    // Another text: the runs belong to the old one.
    const r = run.peek();
    if (r && JSON.stringify(r.text.map((t) => t.id)) !== key) clear();
  }, [key]);
  useEffect(() => stop, []);
  return (
    <div class="cache">
      <p class="explain">
        Each token needs the keys and values of all tokens before it. The KV cache keeps them, so that a step
        computes one new position and reads the rest. Without it, each step computes the whole text again.
      </p>
      <Controls />
      {run.value ? <Runs /> : <Empty />}
    </div>
  );
}

function Controls() {
  const running = run.value?.state === "running";
  const least = Math.max(0, room.value);
  return (
    <form
      class="row controls"
      onSubmit={(e) => {
        e.preventDefault();
        void generate();
      }}
    >
      <button class="action" type="submit" disabled={running || ids.value.length === 0 || least === 0}>
        Generate
      </button>
      <label>
        <input
          id="count"
          type="number"
          min={1}
          max={most}
          required
          value={count.value}
          onInput={(e) => {
            const value = e.currentTarget.valueAsNumber;
            if (Number.isSafeInteger(value) && value >= 1 && value <= most) count.value = value;
          }}
        />{" "}
        tokens
      </label>
      <button type="button" disabled={!running} onClick={stop}>
        Stop
      </button>
      <p class="status" role="status">
        <Progress />
      </p>
    </form>
  );
}

function Progress() {
  const r = run.value;
  if (ids.value.length === 0) return prompt.value === "" ? <>Type a prompt above.</> : null;
  if (room.value <= 0) return <>The text fills the model's context: no token has room.</>;
  if (!r) return room.value < count.value ? <>Room for {room.value} tokens in the model's context.</> : null;
  if (r.state === "failed") return <span class="problem">{r.problem}</span>;
  if (r.state === "running") return <>computing…</>;
  if (r.state === "stopped")
    return (
      <>
        stopped after {both.value} of {r.asked} tokens
      </>
    );
  const reason = r.cached.at(-1)?.finish_reason;
  return (
    <>
      {both.value} {both.value === 1 ? "token" : "tokens"}
      {reason === "stop" ? ", then the model ended the text" : ""}
    </>
  );
}

function Empty() {
  return (
    <p class="empty quiet">
      Press Generate. The model continues the text twice, and you see what each step computes, what it reads,
      and how long it takes.
    </p>
  );
}

function Runs() {
  return (
    <>
      <div class="lanes">
        <Lane cache />
        <Lane cache={false} />
      </div>
      <Scrub />
      <Totals />
      <div class="below">
        <Chart />
        <Hashes />
      </div>
      <Data />
    </>
  );
}

/** The slider over the steps. At its right end it follows the newest step. */
function Scrub() {
  const r = run.value!;
  const newest = Math.max(r.cached.length, r.plain.length) - 1;
  const at = Math.min(chosen.value ?? newest, newest);
  return (
    <div class="scrub row">
      <label for="step">Step</label>
      <input
        id="step"
        type="range"
        min={1}
        max={Math.max(1, newest + 1)}
        value={at + 1}
        disabled={newest < 0}
        aria-valuetext={`step ${at + 1} of ${newest + 1}`}
        onInput={(e) => {
          const step = e.currentTarget.valueAsNumber - 1;
          chosen.value = step >= newest ? null : step;
        }}
      />
      <span class="quiet">
        {at + 1} of {r.state === "running" ? r.asked : newest + 1}
      </span>
      <span class="legend quiet">
        <svg viewBox="0 0 12 12" aria-hidden="true">
          <rect class="computed" x="0.5" y="0.5" width="11" height="11" />
        </svg>
        computed in this step
        <svg viewBox="0 0 12 12" aria-hidden="true">
          <rect class="read" x="1.25" y="1.25" width="9.5" height="9.5" />
        </svg>
        read from the cache
      </span>
    </div>
  );
}

function Totals() {
  const r = run.value!;
  const n = both.value;
  const computed = [positions(r.cached, n), positions(r.plain, n)] as const;
  const times = [time(r.cached, n), time(r.plain, n)] as const;
  const later = [typical(r.cached, n), typical(r.plain, n)] as const;
  const ratio = (a: number, b: number) => (a > 0 ? `${(b / a).toFixed(b / a < 10 ? 2 : 1)}×` : "–");
  return (
    <dl
      id="totals"
      class="totals"
      data-state={r.state}
      data-steps={n}
      data-computed-cached={computed[0]}
      data-computed-plain={computed[1]}
      data-ms-cached={times[0]}
      data-ms-plain={times[1]}
    >
      <Total title="positions computed" values={computed.map((c) => c.toLocaleString("en"))} />
      <Total title="total time" values={times.map(duration)} />
      <Total title="median later token" values={n > 1 ? later.map(duration) : ["–", "–"]} />
      <div>
        <dt>speed-up</dt>
        <dd>
          <b class="cached">{n > 0 ? ratio(times[0], times[1]) : "–"}</b>
          {n > 1 && <span class="quiet">{ratio(later[0], later[1])} by the medians</span>}
        </dd>
      </div>
    </dl>
  );
}

function Total({ title, values }: { title: string; values: string[] }) {
  return (
    <div>
      <dt>{title}</dt>
      <dd>
        <span>
          <b class="cached">{values[0]}</b> <span class="quiet">with</span>
        </span>
        <span>
          <b class="plain">{values[1]}</b> <span class="quiet">without</span>
        </span>
      </dd>
    </div>
  );
}

function Data() {
  const r = run.value!;
  const save = () =>
    saveJSON("phi3-kv-cache", {
      ids: r.text.map((t) => t.id),
      max_new_tokens: r.asked,
      events: r.cached.flatMap((e, i) => (r.plain[i] ? [e, r.plain[i]] : [e])),
      end: r.end,
    });
  const picture = () => saveSVG("phi3-kv-cache", document.querySelector<SVGSVGElement>("#times")!);
  return (
    <div class="data">
      <p class="quiet">
        Both runs take turns on one machine. A time is that of the run's own step. Both choose the most
        probable token each time.
      </p>
      <div class="row">
        <button type="button" onClick={picture}>
          Save the chart as SVG
        </button>
        <button type="button" onClick={save}>
          Save both runs as JSON
        </button>
      </div>
      <Numbers title="Numbers of both runs">{() => <Table />}</Numbers>
    </div>
  );
}

function Table() {
  const r = run.value!;
  return (
    <table id="steps">
      <thead>
        <tr>
          {["step", "cache", "token", "computed", "read", "bytes kept", "ms", "hash of the logits"].map(
            (title) => (
              <th key={title} scope="col">
                {title}
              </th>
            ),
          )}
        </tr>
      </thead>
      <tbody>
        {r.cached
          .flatMap((e, i) => (r.plain[i] ? [e, r.plain[i]] : [e]))
          .map((e) => (
            <tr key={`${e.index}${e.cache}`}>
              <td>{e.index + 1}</td>
              <td>{e.cache ? "with" : "without"}</td>
              <td>
                <bdi class="token">{visible(e.token)}</bdi>
              </td>
              <td>{e.computed}</td>
              <td>{e.read}</td>
              <td>{e.bytes}</td>
              <td>{e.ms.toFixed(3)}</td>
              <td class="hash">{e.hash}</td>
            </tr>
          ))}
      </tbody>
    </table>
  );
}

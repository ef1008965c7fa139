// The promise: with and without the cache, the model computes the same bits. Each step's logits have a hash.

import { useEffect, useRef } from "preact/hooks";
import type { CacheEvent } from "../api";
import { brief } from "../show";
import { both, chosen, run, stepOf, verdict } from "./run";

export function Hashes() {
  const r = run.value!;
  const box = useRef<HTMLDivElement>(null);
  const steps = Math.max(r.cached.length, r.plain.length);
  const here = Math.max(stepOf(r.cached), stepOf(r.plain));
  useEffect(() => {
    // Follows the step inside the box only: scrollIntoView would move the page too.
    const line = box.current!.querySelector<HTMLElement>(".chosen");
    if (!line) return;
    const top = line.offsetTop - 30;
    const bottom = line.offsetTop + line.offsetHeight - box.current!.clientHeight;
    if (box.current!.scrollTop > top || box.current!.scrollTop < bottom) box.current!.scrollTop = bottom + 4;
  }, [here, steps]);
  return (
    <section class="hashes" aria-labelledby="hashes-title">
      <h2 id="hashes-title">The same bits?</h2>
      <Verdict />
      <div class="list" ref={box} tabIndex={0} role="group" aria-label="Hashes of the logits of each step">
        <table>
          <thead>
            <tr>
              <th scope="col">step</th>
              <th scope="col">token</th>
              <th scope="col">with</th>
              <th scope="col">
                <span class="hidden">equal</span>
              </th>
              <th scope="col">without</th>
            </tr>
          </thead>
          <tbody>
            {Array.from({ length: steps }, (_, i) => (
              <Line key={i} i={i} a={r.cached[i]} b={r.plain[i]} here={i === here} />
            ))}
          </tbody>
        </table>
      </div>
      <p class="quiet">
        SHA-256 of the logits of each step, float32, the first 16 digits. If one bit of one logit differs, so
        does the hash.
      </p>
    </section>
  );
}

function Line(props: { i: number; a: CacheEvent | undefined; b: CacheEvent | undefined; here: boolean }) {
  const { i, a, b, here } = props;
  const equal = a && b ? a.hash === b.hash : null;
  return (
    <tr
      class={`${here ? "chosen" : ""} ${equal === false ? "differs" : ""}`}
      data-equal={equal ?? undefined}
      onClick={() => (chosen.value = i)}
    >
      <td>{i + 1}</td>
      <td>
        <bdi class="token">{brief((a ?? b)!.token, 9)}</bdi>
      </td>
      <td class="hash">{a?.hash ?? "…"}</td>
      <td class="mark">
        {equal === null ? (
          ""
        ) : equal ? (
          <span aria-label="equal" role="img">
            ✓
          </span>
        ) : (
          <b>differs</b>
        )}
      </td>
      <td class="hash">{b?.hash ?? "…"}</td>
    </tr>
  );
}

/** The verdict over all steps. Only the last one is read aloud. */
function Verdict() {
  const { kind, words } = verdict.value;
  const done = run.value!.state !== "running";
  return (
    <p
      id="verdict"
      class={`verdict ${kind}`}
      role={kind === "bad" ? "alert" : "status"}
      aria-live={done || kind === "bad" ? undefined : "off"}
      data-verdict={done ? kind : "running"}
      data-rows={both.value}
    >
      {kind === "none"
        ? done
          ? "No step of both runs has ended."
          : "waits for the first step of both runs"
        : `${kind === "good" ? "✓" : "✗"} ${words}`}
    </p>
  );
}

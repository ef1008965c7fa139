// The time of each token over its position, of both runs in one chart.

import { scaleLinear, scaleLog } from "d3-scale";
import { line } from "d3-shape";
import { useEffect, useRef, useState } from "preact/hooks";
import type { CacheEvent } from "../api";
import { shared } from "../share";
import { duration, run, stepOf, steps } from "./run";

const logarithmic = shared<boolean>("cache.log", false);

const height = 300;
const edge = { left: 56, right: 14, top: 26, bottom: 44 };

export function Chart() {
  const box = useRef<HTMLDivElement>(null);
  const [width, resize] = useState(0);
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => resize(Math.floor(entry!.contentRect.width)));
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  return (
    <section class="chart" aria-labelledby="chart-title">
      <div class="row">
        <h2 id="chart-title">Time of each token</h2>
        <label class="switch">
          <input
            type="checkbox"
            checked={logarithmic.value}
            onChange={(e) => (logarithmic.value = e.currentTarget.checked)}
          />{" "}
          logarithmic
        </label>
      </div>
      <div ref={box}>{width > 0 && <Curves width={width} />}</div>
    </section>
  );
}

function Curves({ width }: { width: number }) {
  const r = run.value!;
  const log = logarithmic.value;
  const first = r.text.length;
  const times = [...r.cached, ...r.plain].map((e) => e.ms);
  const high = Math.max(...times, 0.001) * 1.05;
  const low = Math.max(0.001, Math.min(...times, high) * 0.8);
  const x = scaleLinear()
    .domain([first, first + Math.max(1, steps.value - 1)])
    .range([edge.left, width - edge.right]);
  const y = (log ? scaleLog().domain([low, high]) : scaleLinear().domain([0, high]))
    .range([height - edge.bottom, edge.top])
    .nice();
  // A short logarithmic scale has no power of ten but its marks between them.
  const marks = y.ticks(log ? 4 : 5);
  const sparse = log && marks.length > 7 ? marks.filter((m) => /^[125]/.test(m.toExponential())) : marks;
  const whole = x.ticks(Math.max(2, Math.floor(width / 90))).filter(Number.isInteger);
  const step = Math.max(stepOf(r.cached), stepOf(r.plain));
  const path = line<CacheEvent>()
    .x((e) => x(first + e.index))
    .y((e) => y(Math.max(e.ms, log ? low : 0)));
  return (
    <svg
      id="times"
      class="times"
      width={width}
      height={height}
      viewBox={`0 0 ${width} ${height}`}
      role="img"
      aria-label={
        "Milliseconds a token over the position of the token, with and without the KV cache. " +
        "The numbers are in the table below."
      }
    >
      {sparse.map((m) => (
        <g key={m} transform={`translate(0 ${y(m)})`}>
          <line class="grid" x1={edge.left} x2={width - edge.right} />
          <text x={edge.left - 8} text-anchor="end" dominant-baseline="central">
            {Number(m.toPrecision(3)).toString()}
          </text>
        </g>
      ))}
      {whole.map((m) => (
        <g key={m} transform={`translate(${x(m)} ${height - edge.bottom})`}>
          <line class="tick" y2="5" />
          <text y="19" text-anchor="middle">
            {m}
          </text>
        </g>
      ))}
      <line
        class="axis"
        x1={edge.left}
        x2={width - edge.right}
        y1={height - edge.bottom}
        y2={height - edge.bottom}
      />
      <text class="unit" x={4} y={12}>
        milliseconds a token
      </text>
      {(["cached", "plain"] as const).map((name, i) => (
        <g key={name} class={name} transform={`translate(${width - edge.right - (i === 0 ? 196 : 74)} 0)`}>
          <line class="curve" x2="18" y1="8" y2="8" />
          <text x="24" y="12">
            {name === "cached" ? "with the cache" : "without"}
          </text>
        </g>
      ))}
      <text class="unit" x={width - edge.right} y={height - 6} text-anchor="end">
        position of the token in the text
      </text>
      {step >= 0 && (
        <line class="now" x1={x(first + step)} x2={x(first + step)} y1={edge.top} y2={height - edge.bottom} />
      )}
      <Curve
        name="plain"
        events={r.plain}
        d={path(r.plain)}
        x={(e) => x(first + e.index)}
        y={(e) => y(e.ms)}
      />
      <Curve
        name="cached"
        events={r.cached}
        d={path(r.cached)}
        x={(e) => x(first + e.index)}
        y={(e) => y(e.ms)}
      />
    </svg>
  );
}

function Curve(props: {
  name: "cached" | "plain";
  events: CacheEvent[];
  d: string | null;
  x: (e: CacheEvent) => number;
  y: (e: CacheEvent) => number;
}) {
  const { name, events, d, x, y } = props;
  const few = events.length <= 40;
  const step = stepOf(events);
  return (
    <g class={name}>
      {d && <path class="curve" d={d} fill="none" />}
      {events.map(
        (e) =>
          (few || e.index === step) && (
            <circle key={e.index} class="dot" cx={x(e)} cy={y(e)} r={e.index === step ? 4.5 : 2.5}>
              <title>{`${name === "cached" ? "with" : "without"} the cache: ${duration(e.ms)}`}</title>
            </circle>
          ),
      )}
    </g>
  );
}

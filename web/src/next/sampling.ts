// The steps of sampling and their settings.

import type { Sampling } from "../api";
import { shared } from "../share";

export interface Control {
  field: keyof Sampling;
  title: string;
  neutral: number; // the value at which it changes nothing
  least: number;
  most: number; // of the number field
  /** The values of the slider, from left to right. */
  stops: number[];
}

/** Numbers from a to b in equal steps, without the noise of binary fractions. */
function range(a: number, b: number, step: number): number[] {
  return Array.from({ length: Math.round((b - a) / step) + 1 }, (_, i) => Number((a + i * step).toFixed(4)));
}

const control = (field: keyof Sampling, title: string, rest: Omit<Control, "field" | "title">): Control => ({
  field,
  title,
  ...rest,
});

export interface Step {
  name: string; // as in the server's answer
  title: string;
  explain: string;
  controls: Control[];
}

/** The pipeline, in its order. */
export const steps: Step[] = [
  { name: "model", title: "model", explain: "The probabilities as the model computes them.", controls: [] },
  {
    name: "penalties",
    title: "penalties",
    explain: "Tokens that the text has already become less probable.",
    controls: [
      control("repetition_penalty", "repetition", {
        neutral: 1,
        least: 0.01,
        most: 10,
        stops: range(0.5, 2, 0.02),
      }),
      control("frequency_penalty", "frequency", {
        neutral: 0,
        least: -2,
        most: 2,
        stops: range(-2, 2, 0.05),
      }),
      control("presence_penalty", "presence", { neutral: 0, least: -2, most: 2, stops: range(-2, 2, 0.05) }),
    ],
  },
  {
    name: "temperature",
    title: "temperature",
    explain: "Below 1, probable tokens gain; above 1, improbable ones do. 0 leaves only the most probable.",
    controls: [
      control("temperature", "temperature", { neutral: 1, least: 0, most: 2, stops: range(0, 2, 0.02) }),
    ],
  },
  {
    name: "top_k",
    title: "top-k",
    explain: "Only the k most probable tokens stay.",
    controls: [
      control("top_k", "top-k", {
        neutral: 0,
        least: 0,
        most: 1_000_000,
        stops: [...range(1, 20, 1), 25, 30, 40, 50, 60, 80, 100, 150, 200, 300, 500, 1000, 0],
      }),
    ],
  },
  {
    name: "top_p",
    title: "top-p",
    explain: "The most probable tokens stay, until together they have this probability.",
    controls: [control("top_p", "top-p", { neutral: 1, least: 0, most: 1, stops: range(0, 1, 0.01) })],
  },
  {
    name: "min_p",
    title: "min-p",
    explain: "Tokens stay that have at least this fraction of the highest probability.",
    controls: [control("min_p", "min-p", { neutral: 0, least: 0, most: 1, stops: range(0, 1, 0.01) })],
  },
];

export const controls = steps.flatMap((s) => s.controls);

export const neutral: Sampling = {
  temperature: 1,
  top_k: 0,
  top_p: 1,
  min_p: 0,
  repetition_penalty: 1,
  frequency_penalty: 0,
  presence_penalty: 0,
};

export function allows(c: Control, value: unknown): value is number {
  const whole = c.field !== "top_k" || Number.isInteger(value);
  return typeof value === "number" && whole && value >= c.least && value <= c.most;
}

export const sampling = shared<Sampling>(
  "sampling",
  neutral,
  (v) => Object.keys(v).length === controls.length && controls.every((c) => allows(c, v[c.field])),
);

/** The step whose probabilities the bars show. */
export const step = shared("step", steps.length - 1, (v) => steps[v] !== undefined);

export function set(field: keyof Sampling, value: number): void {
  sampling.value = { ...sampling.value, [field]: value };
}

/** Makes steps change nothing. */
export function reset(list: Step[]): void {
  const value = { ...sampling.value };
  for (const s of list) for (const c of s.controls) value[c.field] = c.neutral;
  sampling.value = value;
}

export function isOff(s: Step): boolean {
  return s.controls.every((c) => sampling.value[c.field] === c.neutral);
}

export function title(name: string): string {
  return steps.find((s) => s.name === name)?.title ?? name;
}

// The steps of sampling from left to right, each with its settings.

import type { Signal } from "@preact/signals";
import type { Next } from "../api";
import { allows, isOff, reset, sampling, set, step, steps, title, type Control, type Step } from "./sampling";

/** pointed: the step that the pointer is on; -1: none. */
export function Pipeline({ next, pointed }: { next: Next | null; pointed: Signal<number> }) {
  return (
    <ol class="pipeline" aria-label="The steps of sampling">
      {steps.map((s, i) => (
        <StepCard key={s.name} s={s} index={i} next={next} pointed={pointed} />
      ))}
    </ol>
  );
}

interface CardProps {
  s: Step;
  index: number;
  next: Next | null;
  pointed: Signal<number>;
}

function StepCard({ s, index, next, pointed }: CardProps) {
  const off = isOff(s);
  const kept = next?.steps[index]?.kept;
  const gone = kept === undefined || index === 0 ? 0 : (next!.steps[index - 1]?.kept ?? kept) - kept;
  return (
    <li
      class={`step card step-${s.name}${off && index > 0 ? " off" : ""}`}
      data-step={s.name}
      data-kept={kept}
    >
      <div class="step-head">
        <button
          type="button"
          class="step-name"
          aria-pressed={step.value === index}
          title={`${s.explain} Click to see the probabilities after this step.`}
          onClick={() => (step.value = index)}
          onMouseEnter={() => (pointed.value = index)}
          onMouseLeave={() => (pointed.value = -1)}
        >
          {s.title}
        </button>
        {s.controls.length > 0 && (
          <button
            type="button"
            class="step-reset"
            aria-label={`Switch ${s.title} off`}
            title="Switch off"
            disabled={off}
            onClick={() => reset([s])}
          >
            ↺
          </button>
        )}
      </div>
      <p class="step-kept">
        {kept === undefined ? "…" : `${kept.toLocaleString("en")} ${kept === 1 ? "token" : "tokens"}`}
        {gone > 0 && <span class="step-gone"> −{gone.toLocaleString("en")}</span>}
        {off && index > 0 && <span class="step-off">off</span>}
      </p>
      {s.controls.map((c) => (
        <Setting key={c.field} c={c} alone={s.controls.length === 1} />
      ))}
      {index === 0 && next && <Entropy nats={next.entropy} />}
    </li>
  );
}

/** How unsure the model is. */
function Entropy({ nats }: { nats: number }) {
  const choices = Math.exp(nats).toLocaleString("en", {
    minimumSignificantDigits: 3,
    maximumSignificantDigits: 3,
  });
  return (
    <p
      class="step-note"
      id="next-facts"
      data-entropy={nats}
      title={`The model is as unsure as somebody who has ${choices} equal choices.`}
    >
      <span>entropy {nats.toFixed(2)} nats</span>
      <span>≈ {choices} equal choices</span>
    </p>
  );
}

/** A slider and a number field of one setting. alone: the step's title is its label. */
function Setting({ c, alone }: { c: Control; alone: boolean }) {
  const value = sampling.value[c.field];
  const type = (text: string) => {
    const typed = text.trim() === "" ? NaN : Number(text);
    if (allows(c, typed)) set(c.field, typed);
  };
  return (
    <div class={alone ? "setting alone" : "setting"}>
      <label for={c.field} class={alone ? "hidden" : undefined}>
        {c.title}
      </label>
      <input
        type="range"
        id={c.field}
        min={0}
        max={c.stops.length - 1}
        step={1}
        value={nearest(c, value)}
        aria-valuetext={value === c.neutral ? `${value}, off` : `${value}`}
        onInput={(e) => set(c.field, c.stops[Number(e.currentTarget.value)]!)}
      />
      <input
        type="number"
        id={`${c.field}-number`}
        aria-label={`${title(c.field)} as a number`}
        min={c.least}
        max={c.most}
        step="any"
        value={value}
        onInput={(e) => type(e.currentTarget.value)}
        onBlur={(e) => (e.currentTarget.value = String(sampling.value[c.field]))}
      />
    </div>
  );
}

/** The index of the slider's stop that is nearest to a value. */
function nearest(c: Control, value: number): number {
  const exact = c.stops.indexOf(value);
  if (exact >= 0) return exact;
  let best = 0;
  c.stops.forEach((stop, i) => {
    const off = c.field === "top_k" && stop === 0;
    if (!off && Math.abs(stop - value) < Math.abs(c.stops[best]! - value)) best = i;
  });
  return best;
}

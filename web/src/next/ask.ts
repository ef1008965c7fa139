// Gets the distribution of the next token.

import { useEffect, useRef } from "preact/hooks";
import { signal, useSignal } from "@preact/signals";
import { get, type Next, type NextCandidate, type Sampling } from "../api";
import type { Loading } from "../load";
import { persist } from "../retry";
import { branch, ids, report, tokens } from "../state";
import { sampling } from "./sampling";

/** A distribution, and what it is the answer to. */
export interface Answer {
  key: string;
  ids: number[];
  generated: number;
  sampling: Sampling;
  next: Next;
}

export const answer = signal<Answer | null>(null);

/** The candidates that are asked for: the most that the server gives. */
export const top = 200;

/** The pause in typing after which the model computes, in milliseconds. */
const pause = 120;

/**
 * Keeps answer up to date while the component is on the page. A changed text stops the work on the old one. A
 * changed setting does not: the server keeps the logits of a text, so an answer is nearly free once they are
 * there. It waits for the answer before it, so that the bars follow a slider while it moves.
 */
export function useNext(): Loading & { key: string } {
  const busy = useSignal(false);
  const problem = useSignal("");
  const wanted = { ids: ids.value, generated: branch.value.length, sampling: sampling.value };
  const text = JSON.stringify(wanted.ids);
  const key = JSON.stringify(wanted);
  const latest = useRef({ ...wanted, key });
  latest.current = { ...wanted, key };
  // The work on the latest text, from the moment that it is wanted.
  const running = useRef<AbortController | null>(null);
  const prompt = useRef(tokens.value);

  const run = async (controller: AbortController) => {
    const slow = setTimeout(() => (busy.value = true), 150);
    try {
      for (let done = answer.value?.key; done !== latest.current.key; done = answer.value?.key) {
        const { key, ...asked } = latest.current;
        const work = () => get<Next>("explore/next", { ...asked, top }, controller.signal);
        const next = await persist(work, controller.signal, (text) => (problem.value = text));
        if (controller.signal.aborted) return;
        answer.value = { key, ...asked, next };
      }
      problem.value = "";
    } catch (error) {
      if (controller.signal.aborted) return;
      problem.value = report(error);
    } finally {
      clearTimeout(slow);
      if (running.current === controller) {
        running.current = null;
        busy.value = false;
      }
    }
  };

  useEffect(() => {
    if (latest.current.ids.length === 0) return;
    const typed = prompt.current !== null && prompt.current !== tokens.value;
    prompt.current = tokens.value;
    const controller = (running.current = new AbortController());
    const timer = setTimeout(() => void run(controller), typed ? pause : 0);
    return () => {
      clearTimeout(timer);
      running.current?.abort();
      running.current = null;
    };
  }, [text]);

  useEffect(() => {
    if (running.current || latest.current.ids.length === 0) return;
    void run((running.current = new AbortController()));
  }, [key]);

  return { busy, problem, key };
}

/** Lets the server draw a token by the probabilities of the last step, over the whole vocabulary. */
export async function draw(now: Answer, signal: AbortSignal): Promise<NextCandidate | undefined> {
  const { ids, generated, sampling } = now;
  const body = { ids, generated, sampling, top: 1, draw: Math.random() };
  return (await get<Next>("explore/next", body, signal)).drawn;
}

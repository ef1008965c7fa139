// How a view gets its data: while it is open, after a pause in typing, and never twice at once.

import { useEffect } from "preact/hooks";
import { useSignal, type Signal } from "@preact/signals";
import { persist } from "./retry";
import { report } from "./state";

export interface Loading {
  busy: Signal<boolean>;
  problem: Signal<string>;
}

/** The pause in typing after which a view computes, in milliseconds. */
const pause = 120;

/**
 * Runs work whenever the key changes, while the component is on the page. A new key, or the end of the
 * component, aborts the work before it. Equal keys have equal results.
 */
export function useWork(key: string, work: (signal: AbortSignal) => Promise<void>): Loading {
  const busy = useSignal(false);
  const problem = useSignal("");
  useEffect(() => {
    const controller = new AbortController();
    busy.value = true;
    const timer = setTimeout(async () => {
      try {
        const say = (text: string) => (problem.value = text);
        await persist(() => work(controller.signal), controller.signal, say);
        problem.value = "";
      } catch (error) {
        if (controller.signal.aborted) return;
        problem.value = report(error);
      }
      if (!controller.signal.aborted) busy.value = false;
    }, pause);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [key]);
  return { busy, problem };
}

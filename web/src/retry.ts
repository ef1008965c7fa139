// Work that tries again while the server loads its model, is busy, or does not answer.

import { ServerError } from "./api";

/** Waits, or throws when the signal aborts. */
function wait(seconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const timer = setTimeout(resolve, 1000 * seconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

/**
 * Does work until it succeeds. An error that may pass is said, and the work is tried again: first after a
 * second, or what the server says; then after longer pauses. Other errors are thrown.
 */
export async function persist<T>(
  work: () => Promise<T>,
  signal: AbortSignal,
  say: (problem: string) => void,
): Promise<T> {
  for (let pause = 1; ; pause = Math.min(2 * pause, 8)) {
    try {
      return await work();
    } catch (error) {
      if (signal.aborted || !(error instanceof ServerError) || !error.passes) throw error;
      say(`${error.message} The page tries again.`);
      await wait(Math.min(Math.max(error.retryAfter, pause), 8), signal);
    }
  }
}

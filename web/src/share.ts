// The state of the page in the fragment of its address, so that a link shows the same picture. A fragment is
// never sent to a server.

import { effect, signal, type Signal } from "@preact/signals";

const given = new URLSearchParams(location.hash.slice(1));
const all = new Map<string, { signal: Signal<unknown>; initial: string }>();

/**
 * Makes a signal that is a part of the fragment, under a name. Its value is JSON there; a value of another
 * type than the initial one, or one that valid refuses, is left out.
 */
export function shared<T>(name: string, initial: T, valid: (value: T) => boolean = () => true): Signal<T> {
  let value = initial;
  const text = given.get(name);
  if (text !== null) {
    try {
      const parsed = JSON.parse(text) as T;
      const same = typeof parsed === typeof initial && Array.isArray(parsed) === Array.isArray(initial);
      if (same && (initial === null || parsed !== null) && valid(parsed)) value = parsed;
    } catch {
      // a link that was damaged on its way
    }
  }
  const s = signal<T>(value);
  all.set(name, { signal: s as Signal<unknown>, initial: JSON.stringify(initial) });
  return s;
}

/** Writes the fragment whenever a shared signal changes. Call it after all signals have been made. */
export function share(): void {
  let waiting = 0;
  effect(() => {
    const fragment = new URLSearchParams();
    for (const [name, { signal: s, initial }] of all) {
      const value = JSON.stringify(s.value);
      if (value !== initial) fragment.set(name, value);
    }
    clearTimeout(waiting);
    // Browsers allow only some changes of the address in a second.
    waiting = window.setTimeout(() => history.replaceState(null, "", `#${fragment}`), 200);
  });
}

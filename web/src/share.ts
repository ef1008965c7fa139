// The state of the page in the fragment of its address, so that a link shows the same picture. A fragment is
// never sent to a server.

import { batch, effect, signal, type Signal } from "@preact/signals";

interface Shared {
  signal: Signal<unknown>;
  initial: string; // JSON
  read: (fragment: URLSearchParams) => unknown;
}

const all = new Map<string, Shared>();
const given = (): URLSearchParams => new URLSearchParams(location.hash.slice(1));

/**
 * Makes a signal that is a part of the fragment, under a name. Its value is JSON there; a value of another
 * type than the initial one, or one that valid refuses, is left out.
 */
export function shared<T>(name: string, initial: T, valid: (value: T) => boolean = () => true): Signal<T> {
  const read = (fragment: URLSearchParams): T => {
    const text = fragment.get(name);
    if (text === null) return initial;
    try {
      const value = JSON.parse(text) as T;
      const same = typeof value === typeof initial && Array.isArray(value) === Array.isArray(initial);
      if (same && (initial === null || value !== null) && valid(value)) return value;
    } catch {
      // a link that was damaged on its way
    }
    return initial;
  };
  const s = signal<T>(read(given()));
  all.set(name, { signal: s as Signal<unknown>, initial: JSON.stringify(initial), read });
  return s;
}

/**
 * Writes the fragment whenever a shared signal changes, and reads it when a person changes the address. Call
 * it after all signals have been made.
 */
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
  window.addEventListener("hashchange", () => {
    const fragment = given();
    batch(() => {
      for (const { signal: s, read } of all.values()) {
        const value = read(fragment);
        // An equal list is another list, which would compute everything again.
        if (JSON.stringify(value) !== JSON.stringify(s.value)) s.value = value;
      }
    });
  });
}

// The tree of the texts that the reader has made from the prompt. A link carries it.

import { batch, effect } from "@preact/signals";
import type { NextCandidate } from "../api";
import { shared } from "../share";
import { about, branch, chat, learn, prompt, remember } from "../state";

/**
 * A token of the tree: its id, the model's probability of it when it was taken (rounded to six digits; -1:
 * unknown), and the tokens that were taken after it.
 */
export type Twig = [id: number, probability: number, ...next: Twig[]];

const mostTwigs = 1000;
/** Also the deepest nesting of a link's JSON, which other code walks recursively. */
const deepest = 400;

/** A link can hold anything. */
function valid(tree: unknown): boolean {
  let twigs = 0;
  const rest: { list: unknown[]; depth: number }[] = [{ list: tree as unknown[], depth: 0 }];
  for (let level = rest.pop(); level; level = rest.pop()) {
    const ids = new Set<unknown>();
    for (const twig of level.list) {
      if (!Array.isArray(twig) || level.depth >= deepest || ++twigs > mostTwigs) return false;
      const [id, p, ...next] = twig as unknown[];
      if (typeof id !== "number" || !Number.isSafeInteger(id) || id < 0 || ids.has(id)) return false;
      if (typeof p !== "number" || !(p === -1 || (p >= 0 && p <= 1))) return false;
      ids.add(id);
      rest.push({ list: next, depth: level.depth + 1 });
    }
  }
  return true;
}

export const tree = shared<Twig[]>("tree", [], valid);

/** Returns the list of twigs after a path; undefined if the path is not in the tree. */
export function after(list: Twig[], path: number[]): Twig[] | undefined {
  for (const id of path) {
    const twig = list.find((t) => t[0] === id);
    if (!twig) return undefined;
    list = twig.slice(2) as Twig[];
  }
  return list;
}

/** Puts a path into a tree. The probability is that of its last token. */
export function grown(list: Twig[], path: number[], probability: number): Twig[] {
  const [id, ...rest] = path;
  if (id === undefined) return list;
  const at = list.findIndex((t) => t[0] === id);
  const old = at < 0 ? ([id, -1] as Twig) : list[at]!;
  const p = rest.length === 0 && probability >= 0 ? probability : old[1];
  const twig: Twig = [id, p, ...grown(old.slice(2) as Twig[], rest, probability)];
  return at < 0 ? [...list, twig] : list.map((t, i) => (i === at ? twig : t));
}

/** Takes the last token of a path, and all that follows it, out of a tree. */
export function pruned(list: Twig[], path: number[]): Twig[] {
  const [id, ...rest] = path;
  if (rest.length === 0) return list.filter((t) => t[0] !== id);
  return list.map((t) => (t[0] === id ? [t[0], t[1], ...pruned(t.slice(2) as Twig[], rest)] : t));
}

function count(list: Twig[]): number {
  return list.reduce((n, t) => n + 1 + count(t.slice(2) as Twig[]), 0);
}

/** Whether another token may be taken: the tree in a link has a limit. */
export function full(): boolean {
  return branch.value.length >= deepest || count(tree.value) >= mostTwigs;
}

/** Appends a token to the branch. */
export function take(candidate: NextCandidate): void {
  const { id, piece, text, bytes, special, probability } = candidate;
  remember([{ id, piece, text, bytes, special }]);
  const path = [...branch.value, id];
  batch(() => {
    tree.value = grown(tree.value, path, Number(probability.toPrecision(6)));
    branch.value = path;
  });
}

/** Removes the end of the branch, and all that follows it in the tree. */
export function cutOff(): void {
  batch(() => {
    tree.value = pruned(tree.value, branch.value);
    branch.value = branch.value.slice(0, -1);
  });
}

export function clear(): void {
  batch(() => {
    tree.value = [];
    branch.value = [];
  });
}

// The tree belongs to the prompt, but a link may bring another prompt with its tree.
let before = { prompt: JSON.stringify([prompt.value, chat.value]), tree: tree.value };
effect(() => {
  const now = { prompt: JSON.stringify([prompt.value, chat.value]), tree: tree.value };
  if (now.prompt !== before.prompt && now.tree === before.tree) now.tree = [];
  // The branch of a link may not be in its tree.
  if (branch.value.length > deepest) branch.value = [];
  else if (!after(now.tree, branch.value)) now.tree = grown(now.tree, branch.value, -1);
  before = now;
  tree.value = now.tree;
});

// Another model may not have the tokens of a link.
effect(() => {
  if (!about.value) return;
  const all = new Set<number>();
  const walk = (list: Twig[]) => {
    for (const t of list) {
      all.add(t[0]);
      walk(t.slice(2) as Twig[]);
    }
  };
  walk(tree.value);
  if ([...all].some((id) => id >= about.value!.vocab_size)) clear();
  else void learn([...all]);
});

// What the view says about a head.

import type { AttentionHead } from "../api";

export type Measure = keyof AttentionHead["measures"];

// label is the server's name of the measure.
export const measures: { key: Measure; label: string; name: string; meaning: string }[] = [
  {
    key: "first",
    label: "first",
    name: "first token",
    meaning: "The weight on position 0. A head that finds nothing to read rests there: an attention sink.",
  },
  {
    key: "previous",
    label: "previous",
    name: "previous token",
    meaning: "The weight on the position just before. Such a head joins neighbours, such as parts of a word.",
  },
  {
    key: "itself",
    label: "itself",
    name: "itself",
    meaning: "The weight on the position's own token.",
  },
  {
    key: "same",
    label: "same token",
    name: "same token",
    meaning: "The weight on earlier positions with the same token, where there are any.",
  },
  {
    key: "after_same",
    label: "after same token",
    name: "after the same token",
    meaning:
      "The weight on what followed the same token before. It lets a model repeat a pattern: induction.",
  },
];

/** The head's computed label, such as "previous token"; "" if no measure stands out. */
export function label(head: AttentionHead): string {
  return measures.find((m) => m.label === head.label)?.name ?? "";
}

/** The measure of the head's label. */
export function labelled(head: AttentionHead): number | null {
  const measure = measures.find((m) => m.label === head.label);
  return measure ? head.measures[measure.key] : null;
}

/** The heads in the order of a measure, highest first, or in their own order. */
export function sorted(heads: AttentionHead[], by: string): AttentionHead[] {
  const measure = measures.find((m) => m.key === by);
  if (!measure) return heads;
  return [...heads].sort((a, b) => (b.measures[measure.key] ?? -1) - (a.measures[measure.key] ?? -1));
}

/** The weight that a shown position gives to the positions before the first shown one. */
export function earlier(weights: number[]): number {
  return Math.max(0, 1 - weights.reduce((sum, w) => sum + w, 0));
}

/** A weight for people: 83%, 4.2%, 0.03%. */
export function share(weight: number): string {
  const p = 100 * weight;
  if (p > 0 && p < 0.01) return "<0.01%";
  return `${p.toFixed(p >= 99.95 || p === 0 ? 0 : p >= 10 ? 1 : 2)}%`;
}

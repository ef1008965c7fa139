// What the whole page shares: the prompt, the branch that continues it, and the view that is open. Each view
// keeps its own state in its own file.

import { batch, computed, effect, signal } from "@preact/signals";
import { get, ServerError, setModel, type About, type TextToken, type Tokens } from "./api";
import { persist } from "./retry";
import { shared } from "./share";

export const views = ["tokens", "layers", "attention", "next", "cache"] as const;
export type View = (typeof views)[number];

export const about = signal<About | null>(null);
export const prompt = shared("prompt", "The capital of Germany is");
export const chat = shared("chat", false);
export const view = shared<View>("view", "tokens", (v) => views.includes(v as View));
/** The tokens that were taken after the prompt, in the view of the next token. */
export const branch = shared<number[]>("branch", [], (v) => v.every(Number.isSafeInteger));

/** The prompt's tokens; null before the first answer, and while the server refuses the prompt. */
export const tokens = signal<Tokens | null>(null);
/** What went wrong with the prompt; "" if nothing did. */
export const problem = signal("");
/** The server wants an API key. */
export const locked = signal(false);

/** Every token that the page has met, so that a branch can show its pieces. */
export const known = signal<ReadonlyMap<number, TextToken>>(new Map());

/** The text that the views look at: the prompt's tokens and the branch's. */
export const text = computed<TextToken[]>(() => {
  if (!tokens.value) return []; // a branch alone is not the text
  const piece = (id: number): TextToken =>
    known.value.get(id) ?? { id, piece: `${id}`, text: "", bytes: "", special: false };
  return [...tokens.value.tokens, ...branch.value.map(piece)];
});
export const ids = computed(() => text.value.map((t) => t.id));

export function remember(list: TextToken[]): void {
  if (list.every((t) => known.value.has(t.id))) return;
  const next = new Map(known.value);
  for (const t of list) next.set(t.id, t);
  known.value = next;
}

/** Changes the prompt. The branch belonged to the old one. */
export function setPrompt(value: string, template = chat.value): void {
  batch(() => {
    prompt.value = value;
    chat.value = template;
    branch.value = [];
  });
}

/** A link may come from a page of another model. */
export function exists(id: number): boolean {
  return id >= 0 && id < (about.value?.vocab_size ?? 0);
}

// The ids that learn has asked about, so that it asks only once.
const asked = new Set<number>();

/** Asks the server for the tokens of ids that the page has not met, such as those of a link. */
export async function learn(list: number[]): Promise<void> {
  const unknown = [...new Set(list)].filter((id) => exists(id) && !known.value.has(id) && !asked.has(id));
  if (unknown.length === 0) return;
  for (const id of unknown) asked.add(id);
  try {
    for (let i = 0; i < unknown.length; i += 256) {
      remember((await get<Tokens>("explore/tokens", { ids: unknown.slice(i, i + 256) })).tokens);
    }
  } catch (error) {
    for (const id of unknown) asked.delete(id);
    problem.value = report(error);
  }
}

export function report(error: unknown): string {
  if (error instanceof ServerError && error.status === 401) locked.value = true;
  return error instanceof Error ? error.message : String(error);
}

/** The model is not there yet, or the server is gone. */
export const waiting = signal(false);

let following = false;

/** Loads what the page needs once, again when the key is known. */
export async function start(): Promise<void> {
  const say = (text: string) => {
    waiting.value = true;
    problem.value = text;
  };
  try {
    const model = await persist(() => get<About>("explore/model"), new AbortController().signal, say);
    batch(() => {
      setModel(model.name);
      about.value = model;
      locked.value = false;
      problem.value = "";
      if (!model.chat_template) chat.value = false;
      if (!branch.value.every(exists)) branch.value = [];
    });
  } catch (error) {
    problem.value = report(error);
    return;
  } finally {
    waiting.value = false;
  }
  if (!following) follow();
}

/** Keeps the tokens those of the prompt. A server that was locked is asked again. */
function follow(): void {
  following = true;
  effect(() => {
    if (locked.value) return;
    if (!branch.value.every(exists)) branch.value = []; // a link that was opened in this tab
    void learn(branch.value);
  });
  effect(() => {
    if (locked.value) return;
    const body = { text: prompt.value, chat: chat.value };
    const controller = new AbortController();
    const { signal } = controller;
    persist(() => get<Tokens>("explore/tokens", body, signal), signal, (text) => (problem.value = text))
      .then((answer) => {
        remember(answer.tokens);
        tokens.value = answer;
        problem.value = "";
      })
      .catch((error: unknown) => {
        if (signal.aborted) return;
        tokens.value = null; // the views must not show another text than the field
        problem.value = report(error);
      });
    return () => controller.abort();
  });
}

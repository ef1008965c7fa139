// The server's JSON, as docs/json.md describes it, and the calls that get it.

export interface Token {
  id: number;
  piece: string; // as in the vocabulary, such as ▁Berlin
  text: string; // what it stands for
}

export interface TextToken extends Token {
  bytes: string; // hexadecimal
  special: boolean;
}

export interface Sampling {
  temperature: number;
  top_k: number;
  top_p: number;
  min_p: number;
  repetition_penalty: number;
  frequency_penalty: number;
  presence_penalty: number;
}

export interface About {
  name: string;
  device: string;
  layers: number;
  heads: number;
  kv_heads: number;
  hidden_size: number;
  vocab_size: number;
  context: number;
  kv_bytes_per_token: number;
  sliding_window?: number;
  chat_template: boolean;
  eos: number[];
  max_positions: number;
  sampling: Sampling;
}

/** The body for explore/tokens: a text, or the ids of tokens. */
export type TokensRequest = { text: string; chat?: boolean } | { ids: number[] };

export interface Tokens {
  text: string;
  tokens: TextToken[];
}

export interface Candidate extends Token {
  rank: number;
  logit: number;
  probability: number;
  cumulative: number;
}

export interface NextCandidate extends Candidate, TextToken {
  steps: number[]; // its probability after each step; 0: removed
  removed?: string; // the step that removed it
}

export interface Next {
  candidates: NextCandidate[];
  steps: { name: string; kept: number }[];
  entropy: number; // nats
  vocab_size: number;
  drawn?: NextCandidate; // if the request has draw
}

export interface LensToken {
  id: number;
  logit: number;
  probability: number;
}

export interface LensCell {
  top: LensToken[];
  entropy: number;
}

export interface LensAnswer {
  id: number;
  ranks: number[]; // [layers]
  probabilities: number[]; // [layers]
}

export interface LayersEvent {
  start?: { from: number; positions: number; layers: number };
  tokens?: TextToken[];
  row?: { layer: number; from: number; cells: LensCell[] };
  answers?: { from: number; positions: LensAnswer[] };
  done?: boolean;
}

export interface Contribution extends TextToken {
  logit: number;
  sum: number;
  embedding: number;
  attention: number[]; // [layers]
  mlp: number[]; // [layers]
}

export interface AttentionHead {
  head: number; // from 1
  weights: number[][]; // of each shown position: to the shown positions up to itself
  measures: {
    first: number;
    previous: number;
    itself: number;
    same: number | null;
    after_same: number | null;
  };
  label: string;
}

export interface Attention {
  layer: number;
  from: number;
  heads: AttentionHead[];
}

export interface CacheEvent {
  cache: boolean;
  index: number;
  token: TextToken;
  computed: number;
  read: number;
  bytes: number;
  ms: number;
  hash: string;
  finish_reason?: string;
}

export interface CacheEnd {
  done: true;
  same: boolean;
}

/** An answer of the server that is an error. The message is a sentence for people. */
export class ServerError extends Error {
  constructor(
    readonly status: number, // 0: there was no answer
    message: string,
    readonly code = "",
    readonly retryAfter = 0, // seconds
  ) {
    super(message);
  }

  /** The same request may succeed later: the server loads its model, is full, or does not answer. */
  get passes(): boolean {
    return this.status === 0 || this.status === 429 || this.status === 503;
  }
}

// The API key, if the server needs one. It stays in this tab's memory.
let key = "";

export function setKey(value: string): void {
  key = value;
}

// The model that the page shows. Each request names it, so that a server that was started again with another
// model refuses the request.
let model = "";

export function setModel(name: string): void {
  model = name;
}

async function send(path: string, body?: object, signal?: AbortSignal): Promise<Response> {
  const headers: Record<string, string> = {};
  if (key) headers["Authorization"] = `Bearer ${key}`;
  const options: RequestInit = { headers, cache: "no-store" };
  if (signal) options.signal = signal;
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    options.method = "POST";
    options.body = JSON.stringify(model ? { model, ...body } : body);
  }
  let response: Response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ServerError(0, "The server does not answer. Is phi3 still running?");
  }
  if (response.ok) return response;
  let message = `The server answered with status ${response.status}.`;
  let code: string | null = null;
  try {
    const { error } = (await response.json()) as { error: { message: string; code: string | null } };
    ({ message, code } = error);
  } catch {
    // the status says enough
  }
  // A new page shows the server's model. By then the address has the prompt.
  if (code === "model_not_found") setTimeout(() => location.reload(), 500);
  const seconds = Number(response.headers.get("Retry-After")) || 0;
  throw new ServerError(response.status, message, code ?? "", seconds);
}

/** Returns the JSON at a path. A body makes it a POST request. */
export async function get<T>(path: string, body?: object, signal?: AbortSignal): Promise<T> {
  return (await (await send(path, body, signal)).json()) as T;
}

/** Yields the server-sent events of a response. */
export async function* stream<T>(path: string, body: object, signal: AbortSignal): AsyncGenerator<T, void> {
  const response = await send(path, body, signal);
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop()!;
    for (const line of lines) {
      if (!line.startsWith("data: ")) continue; // a comment keeps the connection open
      const event = JSON.parse(line.slice("data: ".length)) as { error?: { message: string } };
      if (event.error) throw new ServerError(response.status, event.error.message);
      yield event as Awaited<T>;
    }
  }
}

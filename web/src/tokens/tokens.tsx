// The text, cut into the model's tokens.
//
// What tests can rely on: #tokens-text is a listbox. Each of its options has data-position, data-token-id,
// data-bytes (hexadecimal), data-special and data-branch ("true" for a token of the branch). The option that
// is shown in #token-details is aria-selected and the only one in the order of the Tab key; arrows, Home and
// End move. #tokens-summary has data-tokens, data-characters and data-bytes, which count the prompt without
// the branch. #token-details has dd elements with data-detail: id, piece, text, bytes, position, special.

import type { ComponentChildren } from "preact";
import { useSignal } from "@preact/signals";
import { useMemo, useRef } from "preact/hooks";
import type { TextToken } from "../api";
import { NoText, Numbers } from "../parts";
import { saveJSON } from "../save";
import { visible, written } from "../show";
import { about, branch, chat, problem, text, tokens } from "../state";
import { addedBlank, characters, utf8Length, wholeCharacter } from "./measure";
import { Piece, hue, mayBreak } from "./piece";
import { savePicture } from "./picture";
import "./tokens.css";

// The most tokens that are drawn, and the most ids below them. More would make typing slow.
const most = 4000;
const mostNumerals = 200;

export function Tokens() {
  const chosen = useSignal(-1); // the position that was pointed at last; -1: none yet
  const list = text.value;
  const read = tokens.value;
  if (!read) return problem.value === "" ? <p class="status">reading…</p> : null;
  const prompt = list.length - branch.value.length;
  const at = chosen.value >= 0 && chosen.value < list.length ? chosen.value : example(list.slice(0, prompt));
  const point = (event: Event) => {
    const piece = (event.target as HTMLElement).closest<HTMLElement>("[data-position]");
    if (piece) chosen.value = Number(piece.dataset["position"]);
  };
  const json = () => ({ text: read.text, tokens: list.slice(0, prompt), branch: list.slice(prompt) });
  return (
    <div class="tokens">
      <p class="explain">
        A model does not read letters. It reads <em>tokens</em>: pieces of text, each with a number. A common
        word is one piece, with the blank before it; a rare word is several.
        {about.value?.chat_template &&
          !chat.value &&
          " Switch the chat template on to see what the model really reads when you chat."}
        {chat.value && " The outlined pieces are the chat template's marks: they say who speaks."}
      </p>
      <Summary />
      {list.length === 0 ? (
        <NoText />
      ) : (
        <div class="tokens-pair" onMouseOver={point} onFocusIn={point} onClick={point}>
          <Flow list={list} prompt={prompt} at={at} choose={(i) => (chosen.value = i)} />
          <Details list={list} at={at} />
          <Numerals list={list.slice(0, mostNumerals)} at={at} more={list.length > mostNumerals} />
        </div>
      )}
      <div class="row save">
        <button type="button" onClick={() => savePicture(list.slice(0, most), prompt)}>
          Save as SVG
        </button>
        <button type="button" onClick={() => saveJSON("tokens", json())}>
          Save as JSON
        </button>
      </div>
      <Numbers title="All tokens as a table">{() => <Table list={list} prompt={prompt} />}</Numbers>
    </div>
  );
}

/** The token to show before the reader has chosen one: the last word that has a blank before it. */
function example(list: TextToken[]): number {
  for (let i = list.length - 1; i >= 0; i--) {
    if (!list[i]!.special && /^ \p{L}{4}/u.test(written(list[i]!) ?? "")) return i;
  }
  return list.length - 1;
}

/** A token's piece as the vocabulary has it. */
function vocabulary(token: TextToken): string {
  return token.piece === "" ? "—" : visible({ id: token.id, piece: "", text: token.piece });
}

function Summary() {
  const read = tokens.value!;
  const counted = useMemo(() => ({ c: characters(read.text), b: utf8Length(read.text) }), [read.text]);
  const n = read.tokens.length;
  const fact = (value: number, one: string, digits = 0) => (
    <span class="fact">
      <b>{digits === 0 ? value.toLocaleString("en") : value.toFixed(digits)}</b>{" "}
      {value === 1 && digits === 0 ? one : one.replace(/^\w+/, "$&s")}
    </span>
  );
  return (
    <p id="tokens-summary" class="facts" data-tokens={n} data-characters={counted.c} data-bytes={counted.b}>
      {fact(n, "token")}
      {fact(counted.c, "character")}
      {fact(counted.b, "byte")}
      {n > 0 && fact(counted.c / n, "character a token", 1)}
      {branch.value.length > 0 && (
        <span class="fact branch">
          <b>+ {branch.value.length}</b> of your branch
        </span>
      )}
    </p>
  );
}

interface FlowProps {
  list: TextToken[];
  prompt: number; // the number of tokens before the branch
  at: number;
  choose: (position: number) => void;
}

function Flow({ list, prompt, at, choose }: FlowProps) {
  const box = useRef<HTMLDivElement>(null);
  const drawn = list.slice(0, most);
  const move = (event: KeyboardEvent) => {
    const last = drawn.length - 1;
    const to = {
      ArrowRight: at + 1,
      ArrowLeft: at - 1,
      ArrowDown: below(box.current!, at, 1),
      ArrowUp: below(box.current!, at, -1),
      Home: 0,
      End: last,
    }[event.key];
    if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    choose(Math.max(0, Math.min(last, to)));
    box.current!.querySelector<HTMLElement>(`[data-position="${Math.max(0, Math.min(last, to))}"]`)?.focus();
  };
  const option = (token: TextToken, i: number) => (
    <Option key={i} token={token} position={i} selected={i === at} branch={i >= prompt} />
  );
  return (
    <div class="card flow">
      <div
        id="tokens-text"
        ref={box}
        role="listbox"
        aria-label="The tokens of the text"
        aria-orientation="horizontal"
        onKeyDown={move}
      >
        <span role="group" aria-label="the prompt">
          {drawn.slice(0, prompt).map(option)}
        </span>
        {prompt < drawn.length && (
          <span role="group" aria-label="the branch that continues it" class="branch">
            {drawn.slice(prompt).map((t, i) => option(t, i + prompt))}
          </span>
        )}
      </div>
      {list.length > most && (
        <p class="quiet">… and {(list.length - most).toLocaleString("en")} more; the JSON has them.</p>
      )}
    </div>
  );
}

/** The ids in the colours of their pieces: this is all that the model gets. The table says the same. */
function Numerals({ list, at, more }: { list: TextToken[]; at: number; more: boolean }) {
  return (
    <div class="card numerals" aria-hidden="true">
      <p class="quiet">What the model gets:</p>
      {list.map((t, i) => (
        <span key={i} class={i === at ? `${hue(t, i)} at` : hue(t, i)} data-position={i}>
          {t.id}
        </span>
      ))}
      {more && " …"}
    </div>
  );
}

interface OptionProps {
  token: TextToken;
  position: number;
  selected: boolean;
  branch: boolean;
}

function Option({ token, position, selected, branch }: OptionProps) {
  const breaks = mayBreak(token);
  return useMemo(
    () => (
      <>
        {breaks && <wbr />}
        <span
          role="option"
          class={hue(token, position)}
          aria-selected={selected}
          tabIndex={selected ? 0 : -1}
          data-position={position}
          data-token-id={token.id}
          data-bytes={token.bytes}
          data-special={token.special}
          data-branch={branch}
        >
          <Piece token={token} lines />
        </span>
      </>
    ),
    [token, position, selected, branch],
  );
}

/** The token above (-1) or below (1) the one at an index, nearest to it in the next line. */
function below(box: HTMLElement, index: number, direction: number): number {
  const all = [...box.querySelectorAll<HTMLElement>("[data-position]")];
  const middle = (e: HTMLElement) => {
    const r = e.getClientRects()[0] ?? e.getBoundingClientRect();
    return { x: r.left + r.width / 2, y: r.top + r.height / 2, height: r.height };
  };
  const here = middle(all[index]!);
  let best = index;
  let line = 0;
  let distance = Infinity;
  for (let i = index + direction; i >= 0 && i < all.length; i += direction) {
    const there = middle(all[i]!);
    if ((there.y - here.y) * direction < here.height / 2) continue;
    if (line === 0) line = there.y;
    if (Math.abs(there.y - line) > here.height / 2) break;
    if (Math.abs(there.x - here.x) < distance) {
      distance = Math.abs(there.x - here.x);
      best = i;
    }
  }
  return best;
}

function Details({ list, at }: { list: TextToken[]; at: number }) {
  const token = list[at];
  const added = useMemo(() => addedBlank(list, tokens.value!.text), [list]);
  if (!token) return null;
  const whole = wholeCharacter(list, at);
  const count = list.filter((t) => t.id === token.id).length;
  const bytes = (token.bytes.match(/../g) ?? []).map((b) => b.toUpperCase());
  const row = (name: string, title: string, value: ComponentChildren) => (
    <>
      <dt>{title}</dt>
      <dd data-detail={name}>{value}</dd>
    </>
  );
  return (
    <div class="card details" id="token-details">
      <h2>
        <span class={hue(token, at)}>
          <Piece token={token} />
        </span>
      </h2>
      <dl>
        {row("id", "id", token.id.toLocaleString("en", { useGrouping: false }))}
        {row("piece", "piece", <code>{vocabulary(token)}</code>)}
        {row("text", "text", <code>{visible(token)}</code>)}
        {row(
          "bytes",
          bytes.length === 1 ? "1 byte" : `${bytes.length} bytes`,
          <code>{bytes.join(" ")}</code>,
        )}
        {row("position", "position", `${at}, counted from 0`)}
        {row("special", "special", token.special ? "yes: a mark, not text" : "no")}
        {row("count", "in this text", count === 1 ? "once" : `${count} times`)}
      </dl>
      {whole !== "" && (
        <p class="note">
          A part of <b>{whole}</b>: no single token stands for this character, so its bytes are tokens.
        </p>
      )}
      {added === at && <p class="note">The tokenizer has put the blank before the text.</p>}
    </div>
  );
}

function Table({ list, prompt }: { list: TextToken[]; prompt: number }) {
  return (
    <table>
      <thead>
        <tr>
          <th scope="col">position</th>
          <th scope="col">id</th>
          <th scope="col">piece</th>
          <th scope="col">text</th>
          <th scope="col">bytes</th>
          <th scope="col">special</th>
          <th scope="col">of</th>
        </tr>
      </thead>
      <tbody>
        {list.slice(0, most).map((t, i) => (
          <tr key={i}>
            <td>{i}</td>
            <td>{t.id}</td>
            <td>
              <code>{vocabulary(t)}</code>
            </td>
            <td>
              <code>{visible(t)}</code>
            </td>
            <td>
              <code>{t.bytes}</code>
            </td>
            <td>{t.special ? "yes" : "no"}</td>
            <td>{i < prompt ? "the prompt" : "the branch"}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

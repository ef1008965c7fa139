// The next token: its distribution, what each step of sampling leaves of it, and the texts that one can make.
//
// What tests can rely on:
//   #next-view[data-current]   "true" while the bars belong to the text and the settings
//   .step[data-step][data-kept]   a step of the pipeline (model, penalties, temperature, top_k, top_p, min_p)
//                              and the tokens that remain after it; its button .step-name is aria-pressed if
//                              the bars show the probabilities after it
//   #temperature, #top_k, …    the sliders, whose values are indices of stops (sampling.ts)
//   #temperature-number, …     the number fields, whose values are the settings themselves
//   #next-bars .bar            the bars, by rank: data-token-id, data-rank, data-logit, data-probability (the
//                              model's), data-after (after the shown step), data-removed (a step's name),
//                              data-ends ("true": ends the text); numbers as in the server's JSON
//   #next-tree .node           the tree: data-path (JSON of the ids after the prompt), data-token-id,
//                              data-probability (rounded to six digits), data-ends; .here: the branch's end
//   #next-facts                data-entropy in nats
//   #take-best, #draw-one, #draw-ten, #back, #cut, #clear, #all-off, #rows   the other controls

import { Fragment } from "preact";
import { useSignal, type Signal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import type { Next as Distribution, NextCandidate } from "../api";
import type { Loading } from "../load";
import { NoText, Numbers, Status } from "../parts";
import { saveJSON, saveSVG } from "../save";
import { shared } from "../share";
import { exactPercent, visible, written } from "../show";
import { about, branch, ids, known, report, text } from "../state";
import { hue, mayBreak, Piece } from "../tokens/piece";
import { answer, draw, useNext, type Answer } from "./ask";
import { Bars, choose, isRemoved } from "./bars";
import { after, clear, cutOff, full, take, tree, type Twig } from "./branches";
import { Pipeline } from "./pipeline";
import { isOff, neutral, reset, sampling, step, steps, title } from "./sampling";
import { Tree } from "./tree";
import "./next.css";

const rows = shared("rows", 20, (v) => [10, 20, 50, 200].includes(v));

type Order = "best" | "draw";

export function Next() {
  const { key, ...loading } = useNext();
  const pointed = useSignal(-1);
  const orders = useSignal<Order[]>([]); // what the buttons want taken, in turn
  const said = useSignal("");
  const bars = useRef<SVGSVGElement>(null);
  const picture = useRef<SVGSVGElement>(null);
  // A slider does not draw the tree again.
  const drawnTree = useMemo(() => <Tree picture={picture} />, []);
  const now = answer.value;
  const current = now?.key === key;
  useOrders(current ? now : null, orders, said);
  if (ids.value.length === 0) return <NoText />;
  const shownStep = pointed.value >= 0 ? pointed.value : step.value;
  const pick = (c: NextCandidate) => {
    orders.value = [];
    if (current) said.value = tookIt(c);
  };
  return (
    <div id="next-view" data-current={current} class={current ? "next" : "next stale"}>
      <p class="explain">
        The model gives each of its {about.value!.vocab_size.toLocaleString("en")} tokens a probability to
        come next. The steps change these probabilities or remove tokens; then one is drawn. Click a token to
        take it.
      </p>
      <Text />
      <Pipeline next={now?.next ?? null} pointed={pointed} />
      <Actions orders={orders} said={said} loading={loading} />
      {now && (
        <>
          <Bars
            next={now.next}
            shown={choose(now.next, rows.value)}
            after={shownStep}
            taken={new Set((after(tree.value, branch.value) ?? []).map((t) => t[0]))}
            take={pick}
            picture={bars}
          />
          <Foot now={now} />
        </>
      )}
      <h2>Your texts</h2>
      {tree.value.length === 0 ? (
        <p class="quiet">
          Each token that you take grows here. Go back and take another one: a tree of texts.
        </p>
      ) : (
        drawnTree
      )}
      <div class="row save">
        <button type="button" id="cut" disabled={branch.value.length === 0} onClick={cutOff}>
          Remove this branch
        </button>
        <button type="button" id="clear" disabled={tree.value.length === 0} onClick={clear}>
          Remove all
        </button>
        <span class="gap" />
        <button type="button" disabled={!now} onClick={() => bars.current && saveSVG("next", bars.current)}>
          Save bars as SVG
        </button>
        <button
          type="button"
          disabled={tree.value.length === 0}
          onClick={() => picture.current && saveSVG("tree", picture.current)}
        >
          Save tree as SVG
        </button>
        <button
          type="button"
          disabled={!now}
          onClick={() => saveJSON("next", { ...now!, key: undefined, tree: named(tree.value) })}
        >
          Save as JSON
        </button>
      </div>
      {now && <Numbers title="The probabilities as a table">{() => <Table now={now} />}</Numbers>}
      {tree.value.length > 0 && <Numbers title="The texts as a table">{() => <Texts />}</Numbers>}
    </div>
  );
}

/** Takes a candidate. Returns what to tell the reader. */
function tookIt(c: NextCandidate): string {
  if (full()) return "The tree is full. Remove a branch first.";
  if (ids.value.length >= about.value!.context) return "The text has the length of the model's context.";
  take(c);
  return about.value!.eos.includes(c.id) ? `${visible(c)} ends the text.` : "";
}

/** Carries out the orders of the buttons, one for each distribution. now: the text's own; null: not yet. */
function useOrders(now: Answer | null, orders: Signal<Order[]>, said: Signal<string>): void {
  useEffect(() => {
    const [order, ...rest] = orders.value;
    if (!now || !order) return;
    const carryOut = (c: NextCandidate | undefined) => {
      said.value = c ? tookIt(c) : "";
      orders.value = said.value === "" ? rest : [];
    };
    if (order === "best") return carryOut(best(now.next));
    const controller = new AbortController();
    draw(now, controller.signal).then(carryOut, (error: unknown) => {
      if (controller.signal.aborted) return;
      said.value = report(error);
      orders.value = [];
    });
    return () => controller.abort();
  }, [now, orders.value]);
}

function best({ candidates, steps }: Distribution): NextCandidate | undefined {
  const after = (c: NextCandidate) => c.steps[steps.length - 1]!;
  const open = candidates.filter((c) => after(c) > 0);
  return open.reduce<NextCandidate | undefined>((a, b) => (a && after(a) >= after(b) ? a : b), undefined);
}

/** The end of the text, with the branch. */
function Text() {
  const all = text.value;
  const prompt = all.length - branch.value.length;
  const from = Math.max(0, all.length - 60, Math.min(prompt - 6, all.length - 24));
  return (
    <p class="next-text" aria-label="The end of the text">
      {from > 0 && <span class="quiet">… </span>}
      {all.slice(from).map((t, i) => (
        <Fragment key={i}>
          {mayBreak(t) && <wbr />}
          <span class={from + i >= prompt ? `${hue(t, from + i)} new` : hue(t, from + i)}>
            <Piece token={t} />
          </span>
        </Fragment>
      ))}
      <span class="caret" aria-hidden="true" />
    </p>
  );
}

interface ActionsProps {
  orders: Signal<Order[]>;
  said: Signal<string>; // what the last button or click led to
  loading: Loading;
}

function Actions({ orders, said, loading }: ActionsProps) {
  const ended = about.value!.eos.includes(branch.value.at(-1) ?? -1);
  const give = (list: Order[]) => {
    said.value = ended ? "The text has ended here. Go back, or click a token." : "";
    if (!ended) orders.value = [...orders.value, ...list];
  };
  const own = about.value!.sampling;
  const differs = JSON.stringify(own) !== JSON.stringify({ ...own, ...neutral });
  return (
    <div class="row actions">
      <button type="button" id="take-best" onClick={() => give(["best"])}>
        Take the most probable
      </button>
      <button type="button" id="draw-one" onClick={() => give(["draw"])}>
        Draw one
      </button>
      {orders.value.length > 1 ? (
        <button type="button" id="draw-ten" onClick={() => (orders.value = [])}>
          Stop
        </button>
      ) : (
        <button type="button" id="draw-ten" onClick={() => give(Array<Order>(10).fill("draw"))}>
          Draw 10
        </button>
      )}
      <button
        type="button"
        id="back"
        disabled={branch.value.length === 0}
        onClick={() => {
          orders.value = [];
          said.value = "";
          branch.value = branch.value.slice(0, -1);
        }}
      >
        Back
      </button>
      <span class="said" role="status">
        {said.value}
      </span>
      <Status loading={loading} />
      <span class="gap" />
      <button type="button" id="all-off" disabled={steps.every(isOff)} onClick={() => reset(steps)}>
        All steps off
      </button>
      {differs && (
        <button type="button" id="own" onClick={() => (sampling.value = { ...neutral, ...own })}>
          The model's own settings
        </button>
      )}
    </div>
  );
}

/** What the bars leave out. */
function Foot({ now }: { now: Answer }) {
  const { vocab_size } = now.next;
  const shown = choose(now.next, rows.value).length;
  return (
    <p class="bars-foot">
      <label>
        Show{" "}
        <select id="rows" value={rows.value} onChange={(e) => (rows.value = Number(e.currentTarget.value))}>
          {[10, 20, 50, 200].map((n) => (
            <option value={n}>{n}</option>
          ))}
        </select>{" "}
        of {vocab_size.toLocaleString("en")} tokens
        {shown > rows.value && ` and ${shown - rows.value} that the penalties raise`}
      </label>
    </p>
  );
}

function Table({ now }: { now: Answer }) {
  return (
    <table>
      <thead>
        <tr>
          {["rank", "id", "piece", "logit", "probability", "cumulative"].map((h) => (
            <th scope="col">{h}</th>
          ))}
          {now.next.steps.slice(1).map((s) => (
            <th scope="col">after {title(s.name)}</th>
          ))}
          <th scope="col">removed by</th>
        </tr>
      </thead>
      <tbody>
        {choose(now.next, rows.value).map((c) => (
          <tr key={c.id}>
            <td>{c.rank}</td>
            <td>{c.id}</td>
            <td>
              <code>{visible(c)}</code>
            </td>
            <td>{c.logit.toFixed(4)}</td>
            <td>{exactPercent(c.probability)}</td>
            <td>{exactPercent(c.cumulative)}</td>
            {c.steps.slice(1).map((p, i) => (
              <td>{isRemoved(c, i + 1) ? "—" : exactPercent(p)}</td>
            ))}
            <td>{c.removed ? title(c.removed) : ""}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** A tree with the tokens' texts, for the JSON. */
function named(list: Twig[]): unknown[] {
  return list.map((t) => ({
    id: t[0],
    text: written(known.value.get(t[0]) ?? { id: t[0], piece: "", text: "" }),
    probability: t[1] < 0 ? null : t[1],
    next: named(t.slice(2) as Twig[]),
  }));
}

/** Every text of the tree that nothing follows, with the probabilities of its tokens. */
function Texts() {
  const lines: { text: string; numbers: string[] }[] = [];
  const walk = (list: Twig[], text: string, numbers: string[]) => {
    for (const t of list) {
      const here = text + visible(known.value.get(t[0]) ?? { id: t[0], piece: `${t[0]}`, text: "" });
      const all = [...numbers, t[1] < 0 ? "?" : exactPercent(t[1])];
      if (t.length === 2) lines.push({ text: here, numbers: all });
      else walk(t.slice(2) as Twig[], here, all);
    }
  };
  walk(tree.value, "", []);
  return (
    <table>
      <thead>
        <tr>
          <th scope="col">text after the prompt</th>
          <th scope="col">tokens</th>
          <th scope="col">probability of each token</th>
        </tr>
      </thead>
      <tbody>
        {lines.map((l) => (
          <tr>
            <td>
              <code>{l.text}</code>
            </td>
            <td>{l.numbers.length}</td>
            <td>{l.numbers.join(", ")}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

// The texts that the reader has made from the prompt, as a tree.

import { cluster, hierarchy, type HierarchyPointNode } from "d3-hierarchy";
import { linkHorizontal } from "d3-shape";
import { useEffect, useRef, type MutableRef } from "preact/hooks";
import { useSignal } from "@preact/signals";
import type { TextToken } from "../api";
import { exactPercent, type Part } from "../show";
import { about, branch, known, tokens } from "../state";
import { tree, type Twig } from "./branches";
import { fit, Label, width as widthOf } from "./label";

const font = 13; // in CSS pixels, as all lengths here
const pill = 24; // the height of a token
const line = 52; // from one text to the next
const fork = 40; // the gap before tokens that are alternatives
const margin = 12;

interface Leaf {
  path: number[];
  token: TextToken | null; // null: the prompt's end
  label: Part[];
  width: number;
  probability: number; // -1: unknown
  ends: boolean;
  children: Leaf[];
}

type Placed = HierarchyPointNode<Leaf> & { left: number };

function leaf(twig: Twig, path: number[]): Leaf {
  const id = twig[0];
  const token = known.value.get(id) ?? { id, piece: `${id}`, text: "", bytes: "", special: false };
  const own = [...path, id];
  const label = fit(token, font, 180);
  const ends = about.value!.eos.includes(id);
  return {
    path: own,
    token,
    label,
    width: Math.max(ends ? 84 : 50, widthOf(label.map((p) => p.text).join(""), font) + 16),
    probability: twig[1],
    ends,
    children: (twig.slice(2) as Twig[]).map((t) => leaf(t, own)),
  };
}

function root(): Leaf {
  const last = tokens.value?.tokens.at(-1);
  const label: Part[] = [{ text: "… ", sign: true, raw: "" }, ...(last ? fit(last, font, 120) : [])];
  return {
    path: [],
    token: null,
    label,
    width: widthOf(label.map((p) => p.text).join(""), font) + 16,
    probability: -1,
    ends: false,
    children: tree.value.map((t) => leaf(t, [])),
  };
}

/** Places the tokens: each text in a line of its own, each token where the one before it ends. */
function layOut(): Placed[] {
  const top = cluster<Leaf>()
    .nodeSize([line, 1])
    .separation(() => 1)(hierarchy(root(), (l) => l.children));
  const all = top.descendants() as Placed[]; // parents before their children
  const least = Math.min(...all.map((n) => n.x));
  for (const n of all) {
    n.x += margin - least;
    const parent = n.parent as Placed | null;
    const gap = parent && (parent.children!.length > 1 || !parent.parent) ? fork : 2;
    n.left = parent ? parent.left + parent.data.width + gap : margin;
  }
  return all;
}

const curve = linkHorizontal<unknown, [number, number]>();

export function Tree({ picture }: { picture: MutableRef<SVGSVGElement | null> }) {
  const box = useRef<HTMLDivElement>(null);
  const active = useSignal("");
  const all = layOut();
  const here = JSON.stringify(branch.value);
  const onPath = (n: Placed) => n.data.path.every((id, i) => branch.value[i] === id);
  const key = (n: Placed) => JSON.stringify(n.data.path);
  const current = all.find((n) => key(n) === here) ?? all[0]!;
  const tabbed = all.find((n) => key(n) === active.value) ?? current;
  const width = Math.max(...all.map((n) => n.left + n.data.width)) + margin + 16;
  const height = Math.max(...all.map((n) => n.x)) + pill + 18 + margin;

  // The end of the branch stays in sight.
  useEffect(() => {
    const b = box.current!;
    const right = current.left + current.data.width + margin;
    if (right > b.scrollLeft + b.clientWidth) b.scrollLeft = right - b.clientWidth;
    if (current.left - margin < b.scrollLeft) b.scrollLeft = Math.max(0, current.left - margin);
    if (current.x + line > b.scrollTop + b.clientHeight) b.scrollTop = current.x + line - b.clientHeight;
    if (current.x - margin < b.scrollTop) b.scrollTop = current.x - margin;
  }, [here, tree.value]);

  const focus = (n: Placed | null | undefined) => {
    if (!n) return;
    active.value = key(n);
    box.current!.querySelector<SVGGElement>(`[data-path="${key(n)}"]`)?.focus();
  };
  const move = (event: KeyboardEvent) => {
    const siblings = (tabbed.parent?.children ?? [tabbed]) as Placed[];
    const i = siblings.indexOf(tabbed);
    const to: Record<string, Placed | null | undefined> = {
      ArrowRight: tabbed.children?.[0] as Placed | undefined,
      ArrowLeft: tabbed.parent as Placed | null,
      ArrowDown: siblings[i + 1] ?? nextLine(all, tabbed, 1),
      ArrowUp: siblings[i - 1] ?? nextLine(all, tabbed, -1),
      Home: all[0],
    };
    if (!(event.key in to) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    focus(to[event.key]);
  };
  return (
    <div class="scroll tree-box card" ref={box}>
      <svg
        ref={picture}
        id="next-tree"
        width={width}
        height={height}
        role="group"
        aria-label="The texts that you have made, as a tree. The table below has them as text."
        onKeyDown={move}
      >
        {all.map((n) => {
          const parent = n.parent as Placed | null;
          if (!parent) return null;
          const from: [number, number] = [parent.left + parent.data.width, parent.x + pill / 2];
          const link = curve({ source: from, target: [n.left, n.x + pill / 2] });
          return <path key={key(n)} class={onPath(n) ? "link on" : "link"} d={link ?? ""} />;
        })}
        {all.map((n) => (
          <Node
            key={key(n)}
            n={n}
            path={key(n)}
            place={n === current ? "here" : onPath(n) ? "on" : ""}
            tabbed={n === tabbed}
            focused={() => (active.value = key(n))}
          />
        ))}
      </svg>
    </div>
  );
}

/** The nearest token in the lines above (-1) or below (1). */
function nextLine(all: Placed[], from: Placed, direction: number): Placed | undefined {
  const distance = (n: Placed) => Math.abs(n.x - from.x) * 4 + Math.abs(n.left - from.left);
  return all.filter((n) => (n.x - from.x) * direction > 1).sort((a, b) => distance(a) - distance(b))[0];
}

interface NodeProps {
  n: Placed;
  path: string;
  place: string;
  tabbed: boolean;
  focused: () => void;
}

function Node({ n, path, place, tabbed, focused }: NodeProps) {
  const { token, label, width, probability, ends } = n.data;
  const go = () => (branch.value = n.data.path);
  const p = probability >= 0 ? exactPercent(probability) : "";
  const text = label.map((part) => part.text).join("");
  const value = [p, ends ? "end" : ""].filter((t) => t !== "").join(" · ");
  return (
    <g
      role="button"
      class={`node ${place}${token ? "" : " root"}`}
      transform={`translate(${n.left} ${n.x})`}
      tabindex={tabbed ? 0 : -1}
      aria-label={`Go to ${text} ${value}${token ? "" : "(the end of the prompt)"}`}
      aria-current={place === "here" ? "step" : undefined}
      data-path={path}
      data-token-id={token?.id}
      data-probability={probability >= 0 ? probability : undefined}
      data-ends={ends}
      onClick={go}
      onFocus={focused}
      onKeyDown={(e) => {
        if (e.key !== "Enter" && e.key !== " ") return;
        e.preventDefault();
        go();
      }}
    >
      <rect width={width} height={pill} rx={6} />
      <text class="token" x={width / 2} y={pill / 2} text-anchor="middle">
        <Label list={label} />
      </text>{" "}
      {value !== "" && (
        <text class="value" x={width / 2} y={pill + 11} text-anchor="middle">
          {value}
        </text>
      )}
    </g>
  );
}

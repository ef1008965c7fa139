// The page: the prompt at the top, and below it one of five views of it.

import type { ComponentType } from "preact";
import { Attention } from "./attention/attention";
import { Cache } from "./cache/cache";
import { Layers } from "./layers/layers";
import { Next } from "./next/next";
import { Prompt } from "./prompt";
import { about, locked, view, views, type View } from "./state";
import { Tokens } from "./tokens/tokens";

const pages: Record<View, { title: string; show: ComponentType }> = {
  tokens: { title: "Tokens", show: Tokens },
  layers: { title: "Layers", show: Layers },
  attention: { title: "Attention", show: Attention },
  next: { title: "Next token", show: Next },
  cache: { title: "KV cache", show: Cache },
};

export function App() {
  const { show: Show } = pages[view.value];
  return (
    <>
      <header>
        <h1>phi3 explore</h1>
        {about.value && (
          <p class="model">
            <b>{about.value.name}</b> · {about.value.layers} layers · {about.value.heads} heads ·{" "}
            {about.value.vocab_size.toLocaleString("en")} tokens · {about.value.device}
          </p>
        )}
      </header>
      <main>
        <Prompt />
        <Tabs />
        <section id="view" role="tabpanel" aria-labelledby={`tab-${view.value}`} tabIndex={0}>
          {about.value && !locked.value && <Show />}
        </section>
      </main>
    </>
  );
}

function Tabs() {
  const move = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    view.value = views[(views.indexOf(view.value) + step + views.length) % views.length]!;
    document.getElementById(`tab-${view.value}`)?.focus();
  };
  return (
    <div class="tabs" role="tablist" aria-label="Views" onKeyDown={move}>
      {views.map((v, i) => (
        <button
          type="button"
          role="tab"
          key={v}
          id={`tab-${v}`}
          aria-selected={v === view.value}
          aria-controls="view"
          tabIndex={v === view.value ? 0 : -1}
          onClick={() => (view.value = v)}
        >
          <span class="number">{i + 1}</span> {pages[v].title}
        </button>
      ))}
    </div>
  );
}

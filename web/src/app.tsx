// The page: the prompt at the top, and below it one of five views of it.
//
// What tests can rely on: #prompt, #chat, #theme and #key are controls; .examples button has data-example;
// #count has data-used and data-context; the tabs are #tab-tokens, …, and #view is the open view, with
// data-view; #problem says what is wrong with the prompt or the server; #loading is there while the model
// loads.

import { useEffect } from "preact/hooks";
import type { ComponentType } from "preact";
import { Attention } from "./attention/attention";
import { Cache } from "./cache/cache";
import { Layers } from "./layers/layers";
import { Next } from "./next/next";
import { Prompt } from "./prompt";
import { about, locked, prompt, view, views, type View } from "./state";
import { ThemeButton } from "./theme";
import { Tokens } from "./tokens/tokens";

interface Page {
  title: string; // for the document and for people who hear the page
  short: [before: string, word: string, after: string]; // a narrow screen shows only the word
  show: ComponentType;
}

const pages: Record<View, Page> = {
  tokens: { title: "Tokens", short: ["", "Tokens", ""], show: Tokens },
  layers: { title: "Layers", short: ["", "Layers", ""], show: Layers },
  attention: { title: "Attention", short: ["", "Attention", ""], show: Attention },
  next: { title: "Next token", short: ["", "Next", " token"], show: Next },
  cache: { title: "KV cache", short: ["KV ", "cache", ""], show: Cache },
};

export function App() {
  const { title, show: Show } = pages[view.value];
  const words = prompt.value.replace(/\s+/g, " ").trim();
  const name = [...words].length > 40 ? [...words].slice(0, 39).join("") + "…" : words;
  useEffect(() => {
    document.title = `${title}${name && `: ${name}`} – phi3 explore`;
  }, [title, name]);
  const open = about.value !== null && !locked.value;
  return (
    <>
      {open && <Skip />}
      <Header />
      <main>
        <Prompt />
        {open && (
          <>
            <Tabs />
            <section
              id="view"
              role="tabpanel"
              aria-labelledby={`tab-${view.value}`}
              data-view={view.value}
              tabIndex={0}
            >
              <Show />
            </section>
          </>
        )}
      </main>
      <footer>
        <p>
          This page comes from phi3 on your machine, and what you type stays there. The address holds what you
          see: copy it to come back, or to show it to somebody with the same model.
        </p>
      </footer>
    </>
  );
}

/** The first stop of the Tab key leads over the controls. A link's own way would change the fragment. */
function Skip() {
  const skip = (event: Event) => {
    event.preventDefault();
    document.getElementById("view")?.focus();
  };
  return (
    <a class="skip" href="#view" onClick={skip}>
      Skip to the view
    </a>
  );
}

function Header() {
  const model = about.value;
  const fact = (value: number, unit: string) => (
    <li>
      <b>{value.toLocaleString("en")}</b> {value === 1 ? unit : `${unit}s`}
    </li>
  );
  return (
    <header>
      <h1>
        phi3 <span>explore</span>
      </h1>
      {model && (
        <ul class="model" aria-label="The model">
          <li class="name">{model.name}</li>
          {fact(model.layers, "layer")}
          {fact(model.heads, "head")}
          <li>
            vocabulary <b>{model.vocab_size.toLocaleString("en")}</b>
          </li>
          <li class="device">{model.device}</li>
        </ul>
      )}
      <ThemeButton />
    </header>
  );
}

function Tabs() {
  const move = (event: KeyboardEvent) => {
    const at = views.indexOf(view.value);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: views.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    view.value = views[(to + views.length) % views.length]!;
    document.getElementById(`tab-${view.value}`)?.focus();
  };
  return (
    <div class="tabs" role="tablist" aria-label="Views of the prompt" onKeyDown={move}>
      {views.map((v) => (
        <button
          type="button"
          role="tab"
          key={v}
          id={`tab-${v}`}
          aria-selected={v === view.value}
          aria-controls="view"
          aria-label={pages[v].title}
          tabIndex={v === view.value ? 0 : -1}
          onClick={() => (view.value = v)}
        >
          <span class="wide">{pages[v].short[0]}</span>
          {pages[v].short[1]}
          <span class="wide">{pages[v].short[2]}</span>
        </button>
      ))}
    </div>
  );
}

// The prompt: a text field, the switch of the chat template, and examples for the built-in model.

import { useState } from "preact/hooks";
import { setKey } from "./api";
import { about, chat, locked, problem, prompt, setPrompt, start, text, tokens, waiting } from "./state";

// What the built-in model has learned. Another model needs no examples.
const builtIn = "phi3-demo";
const examples: { text: string; chat: boolean }[] = [
  { text: "The capital of Germany is", chat: false },
  { text: "What is 7 plus 5?", chat: true },
  { text: "Who wrote Hamlet?", chat: true },
  {
    text: "Write an email apologizing to Sarah for the tragic gardening mishap. Explain how it happened.",
    chat: true,
  },
];

export function Prompt() {
  if (locked.value) return <Key />;
  return (
    <form class="prompt" onSubmit={(e) => e.preventDefault()}>
      <label for="prompt" class="hidden">
        Prompt
      </label>
      <textarea
        id="prompt"
        rows={2}
        spellcheck={false}
        autocomplete="off"
        placeholder="Type a text that the model continues"
        value={prompt.value}
        onInput={(e) => setPrompt(e.currentTarget.value)}
      />
      {about.value && (
        <div class="row">
          {about.value.chat_template && (
            <label class="switch">
              <input
                type="checkbox"
                role="switch"
                id="chat"
                checked={chat.value}
                onChange={(e) => setPrompt(prompt.value, e.currentTarget.checked)}
              />
              Chat template
            </label>
          )}
          {about.value.name === builtIn && <Examples />}
          <Count />
        </div>
      )}
      {waiting.value && <div id="loading" aria-hidden="true" />}
      <p class={waiting.value ? "quiet" : "problem"} id="problem" role="alert">
        {problem.value}
      </p>
    </form>
  );
}

function Examples() {
  return (
    <div class="examples" role="group" aria-label="Examples">
      {examples.map((example) => (
        <button
          type="button"
          key={example.text}
          data-example={example.text}
          title={example.text}
          aria-pressed={prompt.value === example.text && chat.value === example.chat}
          onClick={() => setPrompt(example.text, example.chat)}
        >
          {example.text.length > 30 ? "Write an email …" : example.text}
        </button>
      ))}
    </div>
  );
}

function Count() {
  const used = text.value.length;
  const { context } = about.value!;
  const refused = tokens.value === null && problem.value !== "";
  const look = used > context ? "count problem" : "count";
  return (
    <span id="count" class={look} data-used={used} data-context={context}>
      <b>{refused ? "–" : used.toLocaleString("en")}</b> of {context.toLocaleString("en")} tokens
    </span>
  );
}

function Key() {
  const [value, change] = useState("");
  const [said, say] = useState(""); // "" before the first try: that a key is needed is said above
  return (
    <form
      class="prompt key"
      onSubmit={(e) => {
        e.preventDefault();
        if (!/^[\x21-\x7e]+$/.test(value)) {
          say("A key has only letters, digits and signs of ASCII, without blanks.");
          return;
        }
        setKey(value);
        void start().then(() => say(problem.value));
      }}
    >
      <label for="key">This server needs an API key. The key stays in this tab.</label>
      <div class="row">
        <input
          id="key"
          type="password"
          autocomplete="off"
          value={value}
          onInput={(e) => change(e.currentTarget.value)}
        />
        <button type="submit" class="action">
          Open
        </button>
      </div>
      <p class="problem" id="problem" role="alert">
        {said}
      </p>
    </form>
  );
}

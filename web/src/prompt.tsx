// The prompt: a text field, and the switch of the chat template.

import { useState } from "preact/hooks";
import { setKey } from "./api";
import { about, branch, chat, locked, problem, prompt, setPrompt, start, text } from "./state";

export function Prompt() {
  if (locked.value) return <Key />;
  const used = text.value.length;
  return (
    <form class="prompt" onSubmit={(e) => e.preventDefault()}>
      <label for="prompt">Prompt</label>
      <textarea
        id="prompt"
        rows={2}
        spellcheck={false}
        value={prompt.value}
        onInput={(e) => setPrompt(e.currentTarget.value)}
      />
      <div class="row">
        {about.value?.chat_template && (
          <label>
            <input
              type="checkbox"
              id="chat"
              checked={chat.value}
              onChange={(e) => {
                chat.value = e.currentTarget.checked;
                branch.value = [];
              }}
            />{" "}
            chat template
          </label>
        )}
        {about.value && (
          <span class="quiet">
            {used} of {about.value.context.toLocaleString("en")} tokens
          </span>
        )}
      </div>
      <p class="problem" role="alert">
        {problem.value}
      </p>
    </form>
  );
}

function Key() {
  const [value, change] = useState("");
  return (
    <form
      class="prompt"
      onSubmit={(e) => {
        e.preventDefault();
        setKey(value);
        void start();
      }}
    >
      <label for="key">This server needs an API key. It stays in this tab.</label>
      <input
        id="key"
        type="password"
        autocomplete="off"
        value={value}
        onInput={(e) => change(e.currentTarget.value)}
      />
      <button type="submit">Open</button>
      <p class="problem" role="alert">
        {problem.value}
      </p>
    </form>
  );
}

// Parts that several views use.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Loading } from "./load";
import { prompt } from "./state";

/** Says that a view computes, or what went wrong. */
export function Status({ loading }: { loading: Loading }) {
  return (
    <p class="status" role="status">
      {loading.problem.value !== "" ? (
        <span class="problem">{loading.problem.value}</span>
      ) : loading.busy.value ? (
        "computing…"
      ) : (
        ""
      )}
    </p>
  );
}

/** Stands for a view that has no text. If there is a prompt, the line below it says what is wrong. */
export function NoText() {
  return prompt.value === "" ? <p class="quiet">Type a prompt above.</p> : null;
}

/** The numbers of a picture as a table, closed until it is wanted. children is called only then. */
export function Numbers(props: { title: string; children: () => ComponentChildren }) {
  const [open, setOpen] = useState(false);
  return (
    <details class="numbers" onToggle={(e) => setOpen(e.currentTarget.open)}>
      <summary>{props.title}</summary>
      <div class="scroll" role="group" aria-label={props.title} tabIndex={0}>
        {open && props.children()}
      </div>
    </details>
  );
}

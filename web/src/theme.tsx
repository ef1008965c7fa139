// Light and dark: as the system says, or as the reader chooses. The choice is in the link, like the rest.

import { effect } from "@preact/signals";
import { shared } from "./share";

const themes = ["auto", "light", "dark"] as const;
type Theme = (typeof themes)[number];

const theme = shared<Theme>("theme", "auto", (v) => themes.includes(v));
const names: Record<Theme, string> = { auto: "as the system", light: "light", dark: "dark" };

/** Applies the theme now and whenever it changes. */
export function dress(): void {
  effect(() => {
    document.documentElement.dataset["theme"] = theme.value;
  });
}

export function ThemeButton() {
  const next = themes[(themes.indexOf(theme.value) + 1) % themes.length]!;
  const title = `Colours: ${names[theme.value]}. Change to: ${names[next]}`;
  return (
    <button
      type="button"
      id="theme"
      class="plain"
      aria-label={title}
      title={title}
      onClick={() => (theme.value = next)}
    >
      <svg viewBox="0 0 20 20" width="20" height="20" aria-hidden="true">
        <circle cx="10" cy="10" r="7" class="ring" />
        {theme.value === "auto" && <path d="M10 3a7 7 0 0 1 0 14z" class="full" />}
        {theme.value === "dark" && <circle cx="10" cy="10" r="7" class="full" />}
      </svg>
    </button>
  );
}

package hub

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"phi3/internal/confined"
)

// ParseAddress reads other ways to name a model, as people copy them from the hub's pages and from commands
// of other programs:
//
//	https://huggingface.co/org/name, hf.co/org/name, hf://org/name, and the same on the host of HF_ENDPOINT
//	https://huggingface.co/org/name/tree/revision
//	org/name@revision, org/name/, models--org--name
//
// revision is "" if the text has none. ok is false for any other text, also for a plain org/name.
func (h *Hub) ParseAddress(text string) (name, revision string, ok bool) {
	given := text
	text = strings.TrimSpace(text)
	rest, hosted := h.afterHost(text)
	if !hosted {
		plain := strings.TrimRight(text, "/")
		if folder, ok := strings.CutPrefix(plain, confined.ModelPrefix); ok {
			plain = strings.Replace(folder, "--", "/", 1)
		}
		if IsName(plain) && plain != given {
			return plain, "", true
		}
		if name, revision, ok = strings.Cut(text, "@"); ok && check(name, revision) == nil {
			return name, revision, true
		}
		return "", "", false
	}
	rest, _, _ = strings.Cut(rest, "?")
	rest, _, _ = strings.Cut(rest, "#")
	parts := strings.Split(strings.Trim(rest, "/"), "/")
	if len(parts) < 2 ||
		slices.Contains([]string{"datasets", "spaces", "docs", "papers", "collections"}, parts[0]) {
		return "", "", false
	}
	last, at, _ := strings.Cut(strings.TrimSuffix(parts[1], ".git"), "@")
	name, revision = parts[0]+"/"+last, at
	if len(parts) > 3 && slices.Contains([]string{"tree", "blob", "resolve", "raw", "commit"}, parts[2]) {
		var err error
		if revision, err = url.PathUnescape(parts[3]); err != nil {
			return "", "", false
		}
	}
	if !IsName(name) || revision != "" && checkRevision(revision) != nil {
		return "", "", false
	}
	return name, revision, true
}

// afterHost returns the part of an address after the hub's host. ok reports whether the text begins with the
// host.
func (h *Hub) afterHost(text string) (rest string, ok bool) {
	scheme, after, hasScheme := strings.Cut(text, "://")
	if hasScheme && strings.EqualFold(scheme, "hf") {
		return strings.TrimPrefix(after, "models/"), true
	}
	if hasScheme && !strings.EqualFold(scheme, "https") && !strings.EqualFold(scheme, "http") {
		return "", false
	}
	if hasScheme {
		text = after
	}
	host, rest, _ := strings.Cut(text, "/")
	host = strings.TrimPrefix(strings.ToLower(host), "www.")
	return rest, host == "huggingface.co" || host == "hf.co" || host == strings.ToLower(h.host())
}

// ParseName reads the name of a model on the hub as users give it: org/name, or a text for
// [Hub.ParseAddress]. revision is "" if the text has none.
func (h *Hub) ParseName(text string) (name, revision string, err error) {
	if IsName(text) {
		return text, "", nil
	}
	if name, revision, ok := h.ParseAddress(text); ok {
		return name, revision, nil
	}
	hint := "those look like " + ExampleName
	if model := Published(text); model != "" && !strings.ContainsAny(text, `/\`) {
		hint = "do you mean " + model + "?"
	}
	return "", "", fmt.Errorf("%q is not the name of a model; %s", text, hint)
}

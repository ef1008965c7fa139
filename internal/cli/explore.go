package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"phi3/internal/openai"
	"phi3/internal/serve"
	"phi3/internal/show"
	"phi3/internal/usage"
)

type exploreFlags struct {
	model     modelFlags
	port      int
	prompt    string
	chat      bool
	noBrowser bool
}

func newExplore(s *streams) *cobra.Command {
	var f exploreFlags
	cmd := &cobra.Command{
		Use:   "explore",
		Short: "See a model think, on a page in the browser",
		Long: `See a model think, on a page in the browser. The page shows five views of a prompt:

  Tokens       how the text is cut into tokens, and their ids and bytes
  Layers       what each layer would answer at each position, and what it adds
  Attention    which tokens each head looks at
  Next token   the probabilities of the next token, before and after sampling
  KV cache     generation with and without the cache, and what each computes

The command loads the model, prints the address of the page, opens it in the browser of
$BROWSER or in your default one, and runs until Ctrl-C. The page is also at / of
phi3 serve.

Only programs on this machine can reach the page. The page loads nothing from other
machines and sends nothing to them. The address has the state of the page after the #,
so a copied address shows the same picture again.`,
		Example: `  phi3 explore
  phi3 explore -p "The capital of France is"
  phi3 explore --chat -p "What is the capital of France?"
  phi3 explore --model microsoft/Phi-3-mini-4k-instruct
  phi3 explore --port 8081 --no-browser`,
		Args: usage.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), s) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.prompt, "prompt", "p", "", "text that the page begins with (default: an example)")
	flags.BoolVar(&f.chat, "chat", false,
		"the text is a user's message: apply the model's chat template. The page can switch this too")
	f.model.register(flags)
	flags.IntVar(&f.port, "port", 0, "`port` to listen on (default: a free one)")
	flags.BoolVar(&f.noBrowser, "no-browser", false, "only print the address")
	return cmd
}

// A page is for one person. The view of the KV cache runs two requests at once, and a second tab may run
// others. Requests that the page has given up may wait for a moment.
const (
	explorePlaces = 4
	exploreQueue  = 64
)

// exploreDrain is how long requests may take to finish after Ctrl-C. Nobody looks at the page any more.
const exploreDrain = 500 * time.Millisecond

func (f *exploreFlags) run(ctx context.Context, s *streams) error {
	if err := checkPort(f.port); err != nil {
		return err
	}
	f.prompt = validUTF8("prompt", f.prompt, s)
	f.model.parallel = explorePlaces
	server := &serving{
		model: &f.model, host: "127.0.0.1", port: f.port, queue: exploreQueue,
		options: serve.Options{
			Drain: exploreDrain, Version: version(), Log: newLogger(s, "text", slog.LevelWarn),
		},
	}
	return server.run(ctx, s, func(l net.Listener, service *openai.Service) error {
		if f.chat && !service.Codec.Tokenizer.HasChatTemplate() {
			return fmt.Errorf("%s has no chat template; leave --chat out", service.Name)
		}
		s.patience.Store(int64(server.patience()))
		address := server.url(l) + "/" + fragment(f.prompt, f.chat)
		if _, err := show.Fprintln(s.out, address); err != nil {
			return err
		}
		if !f.noBrowser {
			openBrowser(ctx, s, address)
		}
		_, _ = show.Fprintln(s.notes(), "Ctrl-C ends phi3.")
		return nil
	})
}

// fragment is the part of the page's address that holds its state, as web/src/share.ts writes it.
func fragment(prompt string, chat bool) string {
	var parts []string
	if prompt != "" {
		parts = append(parts, "prompt="+fragmentValue(prompt))
	}
	if chat {
		parts = append(parts, "chat=true")
	}
	if parts == nil {
		return ""
	}
	return "#" + strings.Join(parts, "&")
}

// fragmentValue is a text as JSON.stringify and URLSearchParams write it.
func fragmentValue(text string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(text) // a string always has JSON
	escaped := url.QueryEscape(strings.TrimSuffix(b.String(), "\n"))
	// Go and browsers differ in these two characters.
	return strings.NewReplacer("~", "%7E", "%2A", "*").Replace(escaped)
}

package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"phi3/internal/batch"
	"phi3/internal/engine"
	"phi3/internal/progress"
	"phi3/internal/show"
	"phi3/internal/usage"
)

// batchQueue is for the choices of the requests that run: each may have many. The engine refuses none.
const batchQueue = 1 << 30

type batchFlags struct {
	model modelFlags
	out   string
}

func newBatch(s *streams) *cobra.Command {
	var f batchFlags
	cmd := &cobra.Command{
		Use:   "batch FILE --out OUT",
		Short: "Answer a file of requests, in OpenAI's Batch format",
		Long: `Answer a file of requests, in the format of OpenAI's Batch API. Each line of FILE is a
request, and each line of OUT is the response to one:

  {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions",
   "body": {…}}
  {"id": "…", "custom_id": "1", "response": {"status_code": 200,
   "request_id": "…", "body": {…}}, "error": null}

The url is /v1/chat/completions or /v1/completions. The body has the parameters that
phi3 serve takes, except stream; it may leave out the model. phi3 checks all of FILE
before it answers the first line. It reads FILE twice, so FILE cannot be stdin.

phi3 writes each response when it is complete, so they are not in the order of FILE: the
custom_id says which request a response belongs to. A request that is refused also has a
line in OUT, with its status code and the error in the body. (OpenAI writes these to
another file.) The exit code is 0 if every request has a line.

A run can end early: by Ctrl-C, a kill, a full disk or a power failure. Run the same
command again. It keeps the complete lines of OUT and answers only the other requests. It
never replaces another file, nor adds to responses of another model.

A response does not depend on the other requests, nor on --parallel. Two runs of one
request differ only in "created" and "cached_tokens". A request that draws tokens at
random also needs a "seed" for that; with "temperature": 0 it draws none.

To use several machines or GPUs, split FILE by lines, as with split -l 10000, and run
phi3 batch on each part, with an OUT of its own.`,
		Example: `  phi3 batch requests.jsonl --out responses.jsonl -m ./Phi-3-mini-4k-instruct
  phi3 batch requests.jsonl --out responses.jsonl --parallel 32 --device cuda`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage.Errorf("batch takes one file of requests")
			}
			return nil
		},
		ValidArgsFunction: completeOneFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd.Context(), s, args[0])
		},
	}
	flags := cmd.Flags()
	f.model.register(flags)
	flags.StringVar(&f.out, "out", "", "the `file` for the responses; a later run continues it")
	f.model.registerParallel(flags)
	return cmd
}

// check finds mistakes in the flags' values.
func (f *batchFlags) check(file string) error {
	switch {
	case f.out == "":
		return usage.Errorf("batch needs --out, the file for the responses")
	case file == "-":
		return usage.Errorf("batch reads its file twice, so it cannot be stdin; save the requests in a file")
	case f.out == "-":
		return usage.Errorf("--out cannot be stdout, because a later run could not continue it; give a file")
	}
	if err := f.model.checkParallel(); err != nil {
		return err
	}
	return f.model.check()
}

func (f *batchFlags) run(ctx context.Context, s *streams, file string) error {
	if err := f.check(file); err != nil {
		return err
	}
	in, err := batch.OpenInput(ctx, file)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := batch.OpenOutput(ctx, f.out, in)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	writeNotes(s.notes(), out.Notes)
	if in.Missing() == 0 {
		_, _ = show.Fprintf(s.notes(), "%s has the responses to all %s; there is nothing to do\n", f.out,
			counted(in.Len()))
		return nil
	}
	checkpoint, err := f.model.open(ctx, s)
	if err != nil {
		return err
	}
	defer func() { _ = checkpoint.Close() }()
	if err := cmp.Or(in.CheckModel(checkpoint.Title), out.CheckModel(checkpoint.Title)); err != nil {
		return err
	}
	m, err := f.model.load(ctx, s, checkpoint)
	if err != nil {
		return err
	}
	defer func() { _ = m.Close() }()
	service, err := f.model.service(checkpoint, m, engine.Options{Queue: batchQueue})
	if err != nil {
		return err
	}
	defer service.Engine.Close()
	if was := out.Fingerprint; was != "" && was != service.Fingerprint {
		_, _ = show.Fprintf(s.notes(), "warning: %s has responses of another device, --dtype or --weights, "+
			"or of another version of phi3\n", f.out)
	}
	return f.answer(ctx, s, in, out, batch.Answers(service))
}

// answer answers the requests, and says what was done.
func (f *batchFlags) answer(
	ctx context.Context, s *streams, in *batch.Input, out *batch.Output, answer batch.Answer,
) error {
	start, missing := time.Now(), in.Missing()
	if had := in.Len() - missing; had > 0 {
		_, _ = show.Fprintf(s.notes(), "%s has %s of %s responses\n", f.out, show.Thousands(int64(had)),
			show.Thousands(int64(in.Len())))
	}
	bar := progress.Start(s.notes(), progress.Answering)
	totals, err := batch.Run(ctx, in, out, batch.Options{
		Parallel: f.model.parallel, Answer: answer,
		Progress: func(done, of int) { bar.Update(int64(done), int64(of)) },
	})
	bar.Stop()
	if totals.Answered+totals.Refused > 0 {
		f.report(s.notes(), &totals, time.Since(start))
	}
	if left := missing - totals.Answered - totals.Refused; left > 0 {
		_, _ = show.Fprintf(s.notes(), "%s without a response yet; run the same command again to answer the "+
			"rest\n", counted(left))
	}
	return err
}

// report says what a run did.
func (f *batchFlags) report(w io.Writer, t *batch.Totals, took time.Duration) {
	refused := ""
	if t.Refused > 0 {
		refused = fmt.Sprintf(", %s refused (%s says why)", show.Thousands(int64(t.Refused)), f.out)
	}
	_, _ = show.Fprintf(w, "%s answered%s in %s: %s tokens read, %s generated, %s a second\n",
		counted(t.Answered), refused, show.Duration(took), show.Thousands(int64(t.Prompt)),
		show.Thousands(int64(t.Generated)), show.Digits(float64(t.Generated)/took.Seconds()))
}

// completeOneFile lets the shell offer files for the first argument, and nothing after it.
func completeOneFile(
	_ *cobra.Command, args []string, _ string,
) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveDefault
}

// counted is a number of requests in words.
func counted(requests int) string {
	if requests == 1 {
		return "1 request"
	}
	return show.Thousands(int64(requests)) + " requests"
}

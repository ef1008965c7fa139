package cli

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"phi3/internal/hub/hubtest"
)

type hubKey struct{}

// startHub gives a script its own hub and an empty cache.
func startHub(env *testscript.Env) {
	server := hubtest.New()
	env.Defer(server.Close)
	env.Values[hubKey{}] = server
	env.Setenv("HF_ENDPOINT", server.URL)
	env.Setenv("HF_HOME", filepath.Join(env.WorkDir, "hf"))
}

// hubCommand controls the script's hub:
//
//	hub add ORG/NAME DIRECTORY      add a model, or a new commit of it
//	hub gate ORG/NAME TOKEN         refuse requests without the token
//	hub fail FILE cut N             break the next download of the file after N bytes
//	hub fail FILE status N FIELD…   answer it with a status and header fields
//	hub fail FILE wrong             send other bytes
//	hub down                        stop the hub
//	hub requests N                  fail unless it got N requests since the last time
func hubCommand(ts *testscript.TestScript, neg bool, args []string) {
	server := ts.Value(hubKey{}).(*hubtest.Server)
	number := func(i int) int {
		n, err := strconv.Atoi(args[i])
		ts.Check(err)
		return n
	}
	switch strings.Join(args[:min(len(args), 1)], "") {
	case "add":
		files := map[string][]byte{}
		dir := ts.MkAbs(args[2])
		entries, err := os.ReadDir(dir)
		ts.Check(err)
		for _, e := range entries {
			files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name()))
			ts.Check(err)
		}
		ts.Setenv("COMMIT", server.Add(args[1], files))
	case "gate":
		server.Do(func() { server.Gated[args[1]], server.Token = true, args[2] })
	case "fail":
		switch args[2] {
		case "cut":
			server.Fail(args[1], hubtest.Cut(number(3)))
		case "status":
			server.Fail(args[1], hubtest.Status(number(3), args[4:]...))
		case "wrong":
			server.Fail(args[1], hubtest.Wrong())
		default:
			ts.Fatalf("hub fail: unknown fault %s", args[2])
		}
	case "down":
		server.Close()
	case "requests":
		if n := len(server.Requests()); (n == number(1)) == neg {
			ts.Fatalf("%d requests:\n%s", n, strings.Join(server.Requests(), "\n"))
		}
		server.Forget()
	default:
		ts.Fatalf("hub: unknown command")
	}
}

package cli

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"phi3/internal/demo"
)

// The tests see no GPU, even if this machine has one. $FAKE_GPU gives them one.
func TestMain(m *testing.M) {
	openCUDA, cudaDevices, cudaFreeMemory, readMemory = fakeCUDA, fakeDevices, fakeFreeMemory, fakeMemory
	selfTestCUDA, freeDisk = fakeSelfTest, fakeDisk
	if filepath.Base(os.Args[0]) != "phi3" { // the phi3 of a script keeps the script's environment
		_ = os.Unsetenv(modelVariable)
	}
	if longer, err := time.ParseDuration(os.Getenv(graceVariable)); err == nil {
		grace = longer
	}
	testscript.Main(m, map[string]func(){
		"phi3": func() { os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// graceVariable is a duration: the time that phi3 has to end. A test sets it if the end must not be cut off,
// however slow the machine is.
const graceVariable = "TEST_GRACE"

// TestScript runs testdata/script: commands that a user types, and their expected output.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error { // every script has a checkpoint in the directory model
			startHub(env)
			env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "state"))
			return os.CopyFS(filepath.Join(env.WorkDir, "model"), demo.FS())
		},
		Cmds: commands,
	})
}

// commands are what scripts can use in addition to testscript's commands.
var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"exits":    exits,
	"truncate": truncate,
	"edit":     edit,
	"poison":   poison,
	"json": func(ts *testscript.TestScript, neg bool,
		args []string,
	) {
		jsonField(ts, neg, "stdout", args)
	},
	"json-file": func(ts *testscript.TestScript, neg bool,
		args []string,
	) {
		jsonField(ts, neg, args[0], args[1:])
	},
	"same-json": sameJSON,
	"plain":     plain,
	"fetch":     fetch,
	"hub":       hubCommand,
}

// fetch NAME: copies a checkpoint from the project's testdata folder, with the demonstration's tokenizer.
func fetch(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(copyCheckpoint(ts.MkAbs(args[0]), args[0]))
}

func copyCheckpoint(dir, name string) error {
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("../../testdata", name))); err != nil {
		return err
	}
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json"} {
		data, err := fs.ReadFile(demo.FS(), name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, fs.ModePerm); err != nil {
			return err
		}
	}
	return nil
}

// exits CODE COMMAND ARGS…: runs a command, which must end with this exit code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, not %s", got, args[0])
	}
}

// truncate FILE: removes the last byte of the file.
func truncate(ts *testscript.TestScript, _ bool, args []string) {
	file := ts.MkAbs(args[0])
	info, err := os.Stat(file)
	ts.Check(err)
	ts.Check(os.Truncate(file, info.Size()-1))
}

// edit FILE OLD NEW: replaces a text, which the file must contain.
func edit(ts *testscript.TestScript, _ bool, args []string) {
	file := ts.MkAbs(args[0])
	data, err := os.ReadFile(file)
	ts.Check(err)
	if !strings.Contains(string(data), args[1]) {
		ts.Fatalf("%s does not contain %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(file, []byte(strings.ReplaceAll(string(data), args[1], args[2])), fs.ModePerm))
}

// poison DIRECTORY TENSOR ELEMENT: makes one element of a bfloat16 tensor NaN.
func poison(ts *testscript.TestScript, _ bool, args []string) {
	files, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), "*.safetensors"))
	ts.Check(err)
	element, err := strconv.Atoi(args[2])
	ts.Check(err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		ts.Check(err)
		header := 8 + int(binary.LittleEndian.Uint64(data))
		var tensors map[string]struct {
			Offsets []int `json:"data_offsets"`
		}
		ts.Check(json.Unmarshal(data[8:header], &tensors))
		if tensor, ok := tensors[args[1]]; ok {
			binary.LittleEndian.PutUint16(data[header+tensor.Offsets[0]+2*element:], 0x7fc0)
			ts.Check(os.WriteFile(file, data, fs.ModePerm))
			return
		}
	}
	ts.Fatalf("%s has no tensor %s", args[0], args[1])
}

// json PATH WANT: stdout must be one JSON value. A path of keys and indices, such as top.0.id, must lead to
// WANT, which is JSON. json-file FILE PATH WANT: the same for a file.
func jsonField(ts *testscript.TestScript, neg bool, file string, args []string) {
	value := json.RawMessage(ts.ReadFile(file))
	for _, step := range strings.Split(args[0], ".") {
		if index, err := strconv.Atoi(step); err == nil {
			var list []json.RawMessage
			ts.Check(json.Unmarshal(value, &list))
			if index >= len(list) {
				ts.Fatalf("%s: the list has %d values", args[0], len(list))
			}
			value = list[index]
			continue
		}
		var object map[string]json.RawMessage
		ts.Check(json.Unmarshal(value, &object))
		var found bool
		if value, found = object[step]; !found {
			ts.Fatalf("%s: there is no key %s", args[0], step)
		}
	}
	var got bytes.Buffer
	ts.Check(json.Compact(&got, value))
	if (got.String() == args[1]) == neg {
		ts.Fatalf("%s is %s", args[0], got.String())
	}
}

// same-json FILE FILE KEY: the files must be JSON objects that differ only in the key.
func sameJSON(ts *testscript.TestScript, _ bool, args []string) {
	var objects [2]map[string]any
	for i, file := range args[:2] {
		ts.Check(json.Unmarshal([]byte(ts.ReadFile(file)), &objects[i]))
		if _, ok := objects[i][args[2]]; !ok {
			ts.Fatalf("%s: there is no key %s", file, args[2])
		}
		delete(objects[i], args[2])
	}
	if !reflect.DeepEqual(objects[0], objects[1]) {
		ts.Fatalf("%s and %s differ", args[0], args[1])
	}
}

// plain: stdout and stderr must have no escape codes and no carriage returns.
func plain(ts *testscript.TestScript, _ bool, _ []string) {
	for _, stream := range []string{"stdout", "stderr"} {
		if text := ts.ReadFile(stream); strings.ContainsAny(text, "\x1b\r") {
			ts.Fatalf("%s has control codes: %q", stream, text)
		}
	}
}

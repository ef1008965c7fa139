//go:build cgo

// Command kernel-table writes what nvcc makes of the kernels, for each GPU: registers, shared memory, blocks
// on a multiprocessor, bytes in flight, instructions for each weight. `make kernel-table` writes
// internal/gpumodel/kernels.md, and `make check-kernels` fails if that page is not what it would write.
//
//	kernel-table [-check] -tools DIR -page FILE FATBIN
//
// DIR has cuobjdump and nvdisasm.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
)

func main() {
	check := flag.Bool("check", false, "compare the page with what this program would write")
	tools := flag.String("tools", "", "the folder of cuobjdump and nvdisasm")
	page := flag.String("page", "", "the page")
	flag.Parse()
	if err := run(*tools, *page, flag.Arg(0), *check); err != nil {
		fmt.Fprintln(os.Stderr, "kernel-table:", err)
		os.Exit(1)
	}
}

func run(tools, page, fatbin string, check bool) error {
	tables := make([][]row, len(gpus))
	errs := make([]error, len(gpus))
	var wait sync.WaitGroup
	for i := range gpus {
		wait.Go(func() { tables[i], errs[i] = table(tools, fatbin, &gpus[i]) })
	}
	wait.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	text := writePage(tables)
	if !check {
		return os.WriteFile(page, text, 0o666)
	}
	old, err := os.ReadFile(page)
	if err == nil && !bytes.Equal(old, text) {
		err = fmt.Errorf("%s is outdated: %s\nRun `make kernel-table`, and commit the page if the "+
			"change is intended", page, difference(old, text))
	}
	return err
}

// table is a GPU's rows, in the order of the kernels' names.
func table(tools, fatbin string, g *gpu) ([]row, error) {
	var used map[string]resources
	err := cuobjdump(tools, fatbin, g, "-res-usage", func(r io.Reader) (err error) {
		used, err = readResources(r)
		return err
	})
	if err != nil {
		return nil, err
	}
	var code map[string][]instruction
	err = cuobjdump(tools, fatbin, g, "-sass", func(r io.Reader) (err error) {
		code, err = readSASS(r)
		return err
	})
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, name := range slices.Sorted(maps.Keys(used)) {
		launches, err := launchesOf(name, g)
		if err != nil {
			return nil, err
		}
		for _, l := range launches {
			r, err := newRow(name, g, l, used[name], code[name])
			if err != nil {
				return nil, err
			}
			rows = append(rows, r)
		}
	}
	return rows, nil
}

// cuobjdump reads what NVIDIA's tool prints about a GPU's code.
func cuobjdump(tools, fatbin string, g *gpu, what string, read func(io.Reader) error) error {
	cmd := exec.Command(filepath.Join(tools, "cuobjdump"), "-arch", g.arch, what, fatbin)
	cmd.Env = append(os.Environ(), "NVDISASM_PATH="+tools, "PATH="+tools+":"+os.Getenv("PATH"))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	readErr := read(out)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w", cmd, err)
	}
	return readErr
}

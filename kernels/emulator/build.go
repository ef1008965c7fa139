//go:build linux && amd64

package emulator

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/cpu"

	"phi3/kernels"
)

//go:embed src
var ownSources embed.FS

// sources are files by their path below kernels/.
type sources map[string][]byte

func embedded() (sources, error) {
	all := sources{}
	for _, from := range []struct {
		dir string
		fs  fs.FS
	}{{".", kernels.Sources}, {"emulator", ownSources}} {
		err := fs.WalkDir(from.fs, ".", func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			all[filepath.Join(from.dir, path)], err = fs.ReadFile(from.fs, path)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("emulator: embedded sources: %w", err)
		}
	}
	return all, nil
}

// registering ends the name of the file that registers the kernels of an added one.
const registering = ".register.cc"

// add adds each file, and for each file with kernels another that includes it and registers the kernels'
// names.
func (s sources) add(extra []Extra) error {
	for _, e := range extra {
		if _, taken := s[e.Name]; taken || !filepath.IsLocal(e.Name) {
			return fmt.Errorf("emulator: %s is not the name of a new file below kernels/", e.Name)
		}
		s[e.Name] = e.Text
		if len(e.Kernels) == 0 {
			continue
		}
		var list strings.Builder
		for _, kernel := range e.Kernels {
			fmt.Fprintf(&list, "REGISTER_KERNEL(%s)", kernel)
		}
		s[e.Name+registering] = fmt.Appendf(nil, `#include %q
#include "emulator/src/register.h"
static const emulator::Register registered = {%s};
`, e.Name, list.String())
	}
	return nil
}

// Build compiles the library, unless it is in the cache, and returns its path. The library has phi3's
// kernels and those of the extra files. If there is no compiler, the error is an [ErrUnavailable].
func Build(kind Kind, extra ...Extra) (path string, err error) {
	b, err := newBuilder(extra)
	if err != nil {
		return "", err
	}
	return b.build(kind)
}

// BuildMutant compiles a library with a mistake into a folder. Tests check that the mistake is noticed.
func BuildMutant(dir string, kind Kind, m Mutant, extra ...Extra) (path string, err error) {
	b, err := newBuilder(extra)
	if err != nil {
		return "", err
	}
	if n := bytes.Count(b.sources[m.File], []byte(m.Old)); n != 1 {
		return "", fmt.Errorf("emulator: %q is there %d times in %s, not once", m.Old, n, m.File)
	}
	b.sources[m.File] = bytes.Replace(b.sources[m.File], []byte(m.Old), []byte(m.Mistake), 1)
	if m.Heads != nil {
		b.sources.keep(m.Heads)
	}
	b.mutated, b.out = m.File, dir
	return b.build(kind)
}

// Lines that define or name a kernel of attention, and lines that include or name a matrix product.
var (
	attentionLine = regexp.MustCompile(
		`(?m)^\s*(?:ATTENTION_(?:DECODE|PREFILL)\(|KERNEL\(attention_(?:decode|prefill)_)(\d+)\b.*\n`)
	productLine = regexp.MustCompile(
		`(?m)^(?:#include "linear_|\s*KERNEL\((?:norm_)?(?:linear|gate_up)_).*\n`)
)

// keep removes the kernels that [Mutant].Heads excludes.
func (s sources) keep(widths []int) {
	for _, file := range []string{"attention_decode.cu", "attention_prefill.cu", "phi3.cu"} {
		s[file] = attentionLine.ReplaceAllFunc(s[file], func(line []byte) []byte {
			width, _ := strconv.Atoi(string(attentionLine.FindSubmatch(line)[1]))
			if slices.Contains(widths, width) {
				return line
			}
			return nil
		})
	}
	if len(widths) > 0 {
		s["phi3.cu"] = productLine.ReplaceAll(s["phi3.cu"], nil)
	}
}

// build compiles the library if it is missing. Its name is a hash of everything that it is made from, so
// it cannot be out of date.
func (b *builder) build(kind Kind) (path string, err error) {
	b.prune()
	var objects []object
	for _, name := range slices.Sorted(maps.Keys(b.sources)) {
		if o := b.object(name, kind); o != nil {
			objects = append(objects, *o)
		}
	}
	key := sha256.New()
	for _, o := range objects {
		key.Write(fmt.Appendln(nil, o.path))
	}
	path = filepath.Join(b.out, hex.EncodeToString(key.Sum(nil)[:8]), "libcuda.so.1")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("emulator: %w", err)
	}
	unlock, err := lock(filepath.Join(filepath.Dir(path), "lock"))
	if err != nil {
		return "", fmt.Errorf("emulator: %w", err)
	}
	defer unlock()
	if _, err := os.Stat(path); err == nil {
		now := time.Now()
		return path, os.Chtimes(filepath.Dir(path), now, now) // in use: prune keeps it
	}
	return path, b.link(path, objects)
}

type builder struct {
	cache    string // a folder of the user's
	out      string // the folder for the library: the cache, except for mutants
	compiler string // path
	version  string
	flags    []string
	sources  sources
	extra    []Extra
	mutated  string // the source with a mistake; objects made from it are in out
}

func newBuilder(extra []Extra) (*builder, error) {
	all, err := embedded()
	if err != nil {
		return nil, err
	}
	if err := all.add(extra); err != nil {
		return nil, err
	}
	compiler, err := exec.LookPath("g++")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	version, err := exec.Command(compiler, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("emulator: %s --version: %w", compiler, err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	// Without contraction of a·b + c, or decode and prefill would differ. The kernels call fmaf where
	// they want it.
	flags := strings.Fields("-std=c++17 -g1 -ffp-contract=off -fno-math-errno -fno-strict-aliasing -fPIC " +
		"-fvisibility=hidden " +
		"-ftls-model=initial-exec -Wall -Wextra -Wno-unknown-pragmas -Wno-psabi -I.")
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		flags = append(flags, "-march=x86-64-v3")
	}
	cache = filepath.Join(cache, "phi3-emulator")
	return &builder{cache, cache, compiler, string(version), flags, all, extra, ""}, nil
}

// prune removes what was not used for a week.
func (b *builder) prune() {
	entries, _ := os.ReadDir(b.cache) // on an error there is nothing to remove
	for _, e := range entries {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > 7*24*time.Hour {
			_ = os.RemoveAll(filepath.Join(b.cache, e.Name())) // another process may do the same
		}
	}
}

type object struct {
	source string
	flags  []string
	path   string // in the cache
}

// object is the object file of a source in a library of this kind, or nil if the library does not contain it.
func (b *builder) object(source string, kind Kind) *object {
	if filepath.Ext(source) != ".cc" {
		return nil
	}
	added := strings.HasSuffix(source, registering)
	isKernels := filepath.Base(source) == "kernels.cc" || added
	flags := append(slices.Clone(b.flags), "-O2")
	if filepath.Base(source) == "check.cc" && kind != Checked {
		return nil
	}
	if isKernels && kind == Checked {
		// Every load and store calls check.cc. Line numbers and callers stay, because reports name them.
		flags = append(flags, "-O1", "-fsanitize=thread", "-fno-optimize-sibling-calls")
	}
	key, dir := sha256.New(), b.cache
	key.Write(fmt.Appendln(nil, b.version, flags))
	for _, name := range slices.Sorted(maps.Keys(b.sources)) {
		uses := filepath.Ext(name) == ".h" || isKernels && filepath.Ext(name) != ".cc"
		if !added && slices.ContainsFunc(b.extra, func(e Extra) bool { return e.Name == name }) {
			uses = false // phi3's own files do not use the added ones
		}
		if name == source || uses {
			key.Write(fmt.Appendln(nil, name, len(b.sources[name])))
			key.Write(b.sources[name])
			if name == b.mutated {
				dir = b.out
			}
		}
	}
	return &object{source, flags, filepath.Join(dir, hex.EncodeToString(key.Sum(nil)[:8])+".o")}
}

// link compiles what is missing, two files at a time, and links.
func (b *builder) link(path string, objects []object) (err error) {
	dir, err := os.MkdirTemp(b.cache, "build")
	if err != nil {
		return fmt.Errorf("emulator: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for name, content := range b.sources {
		file := filepath.Join(dir, "kernels", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return fmt.Errorf("emulator: %w", err)
		}
		if err := os.WriteFile(file, content, 0o644); err != nil {
			return fmt.Errorf("emulator: %w", err)
		}
	}
	done, room := make(chan error, len(objects)), make(chan struct{}, 2)
	args := []string{"-shared", "-Wl,-soname,libcuda.so.1", "-Wl,-z,defs"}
	for _, o := range objects {
		args = append(args, o.path)
		go func() {
			room <- struct{}{}
			done <- b.compile(dir, o)
			<-room
		}()
	}
	for range objects {
		if e := <-done; e != nil && err == nil {
			err = e
		}
	}
	if err != nil {
		return err
	}
	return b.make(path, dir, args)
}

func (b *builder) compile(dir string, o object) error {
	if _, err := os.Stat(o.path); err == nil {
		return nil
	}
	return b.make(o.path, dir, append(slices.Clone(o.flags), "-c", o.source))
}

// make runs the compiler in the sources' folder. The file appears when it is complete.
func (b *builder) make(path, dir string, args []string) error {
	out, err := os.CreateTemp(filepath.Dir(path), "new")
	if err != nil {
		return fmt.Errorf("emulator: %w", err)
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("emulator: %w", err)
	}
	cmd := exec.Command(b.compiler, append(args, "-o", out.Name())...)
	cmd.Dir = filepath.Join(dir, "kernels")
	if output, err := cmd.CombinedOutput(); err != nil {
		_ = os.Remove(out.Name()) // or prune will
		return fmt.Errorf("emulator: g++ %s: %w\n%s", strings.Join(args, " "), err, bytes.TrimSpace(output))
	}
	if err := os.Rename(out.Name(), path); err != nil {
		return fmt.Errorf("emulator: %w", err)
	}
	return nil
}

// lock makes other processes that want the same library wait until it is complete.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil // nothing was written
}

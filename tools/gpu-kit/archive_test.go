//go:build cuda && linux

package kit

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func pack(t *testing.T, dir string) (archive, said string, err error) {
	t.Helper()
	if _, err = exec.LookPath("xz"); err != nil {
		t.Skip(err)
	}
	archive = t.TempDir() + "/kit.tar.xz"
	out, err := exec.Command("./pack.sh", dir, archive).CombinedOutput()
	return archive, string(out), err
}

func TestArchive(t *testing.T) {
	archive, said, err := pack(t, folder(t))
	require.NoError(t, err, said)
	unpacked, err := exec.Command("xz", "-dc", archive).Output()
	require.NoError(t, err)
	modes := map[string]int64{}
	for files := tar.NewReader(bytes.NewReader(unpacked)); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		modes[header.Name] = header.Mode
	}
	for _, program := range []string{
		"phi3", "random-checkpoint", "gpu-model", "cuda.test", "cli.test", "run.sh",
	} {
		require.Equal(t, int64(0o111), modes["kit/"+program]&0o111, program)
	}
	for _, file := range []string{
		"testdata/mini/golden.json", "internal/demo/checkpoint/config.json",
		"internal/cli/testdata/cuda/run.txtar", "bench_transformers.py",
		"steps.sh", "summary.sh", "words.awk", "CODE",
	} {
		require.Contains(t, modes, "kit/"+file)
	}
}

// The program says from which commit it is, also where the kit was made in a linked worktree.
func TestProgramNamesCommit(t *testing.T) {
	commit, err := exec.Command("git", "describe", "--tags", "--always").Output()
	if err != nil {
		t.Skip(err) // this is not a repository
	}
	require.Contains(t, version(t), "phi3 "+strings.TrimSpace(string(commit)))
}

// The programs start on machines with glibc 2.34, and are stripped.
func TestProgramsNeedOldGlibc(t *testing.T) {
	for _, name := range []string{"phi3", "random-checkpoint", "gpu-model", "cuda.test", "cli.test"} {
		f, err := elf.Open(folder(t) + "/" + name)
		require.NoError(t, err)
		require.Nil(t, f.Section(".symtab"), "%s is not stripped", name)
		imported, err := f.ImportedSymbols()
		if name != "random-checkpoint" && name != "gpu-model" { // which are static
			require.NoError(t, err)
			require.NotEmpty(t, imported)
		}
		for _, s := range imported {
			var minor int
			if n, _ := fmt.Sscanf(s.Version, "GLIBC_2.%d", &minor); n == 1 {
				require.LessOrEqual(t, minor, 34, "%s needs %s of %s", name, s.Name, s.Version)
			}
		}
		require.NoError(t, f.Close())
	}
}

// What is too large to copy to a GPU machine, or would not start there, is not packed.
func TestRefusedArchives(t *testing.T) {
	for _, c := range []struct {
		name, want string
		change     func(t *testing.T, kit string)
	}{
		{"too much unpacked", `holds \d+ bytes, and 4294967296 are allowed`, func(t *testing.T, kit string) {
			require.NoError(t, os.WriteFile(kit+"/large", nil, 0o600))
			require.NoError(t, os.Truncate(kit+"/large", 4<<30))
		}},
		{
			"too large an archive", `would have \d+ bytes, and 30000000 are allowed`,
			func(t *testing.T, kit string) {
				noise := make([]byte, 30_000_000)
				_, _ = rand.New(rand.NewSource(1)).Read(noise) // never fails
				require.NoError(t, os.WriteFile(kit+"/noise", noise, 0o600))
			},
		},
		{"too new a glibc", `/new\.test needs glibc 2\.36, `, func(t *testing.T, kit string) {
			cmd := exec.Command("gcc", "-x", "c", "-", "-o", kit+"/new.test")
			const program = "#include <stdlib.h>\nint main(void) { return arc4random() & 1; }\n"
			cmd.Stdin = strings.NewReader(program)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Skipf("there is no newer glibc here: %s", bytes.TrimSpace(out))
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newKit(t)
			c.change(t, k.dir)
			archive, said, err := pack(t, k.dir)
			require.Error(t, err)
			require.Regexp(t, c.want, said)
			require.NoFileExists(t, archive)
		})
	}
}

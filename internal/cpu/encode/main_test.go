package main

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// The committed header is what as makes of the words in the assembly files.
func TestHeaderIsUpToDate(t *testing.T) {
	if _, err := exec.LookPath("as"); err != nil {
		t.Skip("as, of binutils, is missing")
	}
	want, err := header("..")
	require.NoError(t, err)
	got, err := os.ReadFile("../encoded_amd64.h")
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "go generate ./internal/cpu")
}

func TestGNU(t *testing.T) {
	for word, want := range map[string]string{
		"VDPBF16PS_Z28_Z24_Z0": "vdpbf16ps %zmm28, %zmm24, %zmm0",
		"TDPBF16PS_T6_T4_T0":   "tdpbf16ps %tmm6, %tmm4, %tmm0",
		"TILELOADD_SI_BX_T4":   "tileloadd (%rsi,%rbx,1), %tmm4",
		"TILESTORED_T0_R8_R10": "tilestored %tmm0, (%r8,%r10,1)",
		"LDTILECFG_AX":         "ldtilecfg (%rax)",
		"TILERELEASE":          "tilerelease",
	} {
		got, err := gnu(word)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := gnu("TILELOADD_SI_T4")
	require.ErrorContains(t, err, "TILELOADD_SI_T4 has 2 operands")
}

func TestAssembleRefuses(t *testing.T) {
	if _, err := exec.LookPath("as"); err != nil {
		t.Skip("as, of binutils, is missing")
	}
	_, err := assemble([]string{"tilezero %tmm0", "tilezero %tmm8"})
	require.ErrorContains(t, err, "tmm8")
}

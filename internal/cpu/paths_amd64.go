package cpu

import (
	"encoding/binary"

	"golang.org/x/sys/cpu"
)

// processor is what the choice of a path depends on: the vendor, and the instructions that the processor has
// and the operating system supports. Nothing is timed, so the choice, and with it every bit, is the same at
// each start.
type processor struct {
	vendor        string // as in CPUID: "GenuineIntel", "AuthenticAMD"
	family, model int    // as in Linux's /proc/cpuinfo

	avx2, avx512, bf16, amx bool // what the paths of that name need
}

// cpuid executes CPUID.
func cpuid(leaf uint32) (eax, ebx, ecx, edx uint32)

// thisProcessor describes the processor that the program runs on. (The flags of x/sys/cpu include that the
// operating system saves the registers, except for AMX, see tilesAllowed.)
func thisProcessor() processor {
	var p processor
	_, ebx, ecx, edx := cpuid(0)
	vendor := binary.LittleEndian.AppendUint32(nil, ebx)
	p.vendor = string(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(vendor, edx), ecx))
	version, _, _, _ := cpuid(1)
	p.family, p.model = familyAndModel(version)

	x := &cpu.X86
	p.avx2 = x.HasAVX2 && x.HasFMA && x.HasF16C
	p.avx512 = p.avx2 && x.HasAVX512F && x.HasAVX512BW && x.HasAVX512DQ && x.HasAVX512VL
	p.bf16 = p.avx512 && x.HasAVX512BF16
	p.amx = p.bf16 && x.HasAMXTile && x.HasAMXBF16 && tilesAllowed()
	return p
}

// familyAndModel decodes the version that CPUID returns.
func familyAndModel(version uint32) (family, model int) {
	family, model = int(version>>8&15), int(version>>4&15)
	if family == 6 || family == 15 {
		model += int(version >> 16 & 15 << 4)
	}
	if family == 15 {
		family += int(version >> 20 & 255)
	}
	return family, model
}

// halfRateBF16 returns whether VDPBF16PS does fewer operations per second than float32 multiply-adds. It does
// half as many on Intel's processors since Sapphire Rapids, which have AMX for such products even if a
// hypervisor hides it. The processor before, Cooper Lake (a later stepping of model 85), had no AMX.
// docs/cpu.md has the measurements.
func (p processor) halfRateBF16() bool {
	const cooperLake = 85
	return p.vendor == "GenuineIntel" && !(p.family == 6 && p.model == cooperLake)
}

// paths returns the paths in assembly that the processor can run, the best first.
func (p processor) paths() []*kernels {
	var found []*kernels
	if p.amx {
		found = append(found, amxKernels)
	}
	switch {
	case p.bf16 && p.halfRateBF16():
		found = append(found, avx512Kernels, avx512bf16Kernels)
	case p.bf16:
		found = append(found, avx512bf16Kernels, avx512Kernels)
	case p.avx512:
		found = append(found, avx512Kernels)
	}
	if p.avx2 {
		found = append(found, avx2Kernels)
	}
	return found
}

// nativeKernels returns the paths in assembly that this processor can run, the best first.
func nativeKernels() []*kernels { return thisProcessor().paths() }

"""Compiles phi3.cu to the PTX that the repository carries, for compute_80 and for compute_90:

    python3 kernels/nvrtc.py libnvrtc.so.11.2 80 > kernels/compiled/phi3_80.ptx

NVRTC is CUDA's compiler as a library. The Makefile pins one release; docs/cuda.md gives the reason.
"""

import ctypes
import pathlib
import sys

KERNELS = pathlib.Path(__file__).parent

# NVRTC does not read the host's headers, and args.h needs this one.
STDINT = b"""
typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef short int16_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long int64_t;
typedef unsigned long uint64_t;
typedef unsigned long uintptr_t;
"""


def strings(*values):
    return (ctypes.c_char_p * len(values))(*values)


def main(library, architecture):
    nvrtc = ctypes.CDLL(library)
    program, size = ctypes.c_void_p(), ctypes.c_size_t()

    def check(result, what):
        if result:
            nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
            sys.exit(f"{what}: {nvrtc.nvrtcGetErrorString(result).decode()}")

    def text(get):
        check(getattr(nvrtc, f"nvrtcGet{get}Size")(program, ctypes.byref(size)), get)
        buffer = ctypes.create_string_buffer(size.value)
        check(getattr(nvrtc, f"nvrtcGet{get}")(program, buffer), get)
        return buffer.value.decode()

    source = (KERNELS / "phi3.cu").read_bytes()
    result = nvrtc.nvrtcCreateProgram(
        ctypes.byref(program), source, b"phi3.cu", 1, strings(STDINT), strings(b"stdint.h")
    )
    check(result, "phi3.cu")
    flags = [*(KERNELS / "flags").read_text().split(), f"-arch=compute_{architecture}", f"-I{KERNELS}"]
    result = nvrtc.nvrtcCompileProgram(program, len(flags), strings(*(f.encode() for f in flags)))
    if log := text("ProgramLog").strip():
        sys.exit(log)  # a warning is an error
    check(result, "phi3.cu")
    print(text("PTX"), end="")


if __name__ == "__main__":
    main(*sys.argv[1:])

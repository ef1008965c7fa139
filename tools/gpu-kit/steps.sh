#!/usr/bin/env bash
# Runs one step of run.sh: steps.sh NAME. Exit status: 0 passed, 77 skipped, anything else failed. The
# last line of a skipped or failed step says why. Figures are written to the file $FIGURES as soon as they
# are known.
set -u -o pipefail

skip() {
	echo "$*"
	exit 77
}

fail() {
	echo "$*"
	exit 1
}

phi3() { "$KIT/phi3" "$@"; }

# ---- The GPU

# "ok" and phi3 doctor's description of the first GPU, or another word and why there is none.
gpu() {
	phi3 doctor 2>&1 | awk '
		$2 == "GPU" && found !~ /^ok / {
			word = $1
			sub(/^[a-z]+ +GPU( [0-9]+)? +/, "")
			if (found == "" || word == "ok") found = word " " $0
		}
		{ last = $0 }
		END { print found == "" ? "broken " last : found }'
}

need_gpu() {
	local found
	found=$(gpu)
	[[ $found == 'ok '* ]] || fail "${found#* }"
}

# Prints lines "name<tab>value" about the machine and the program, for the head of the summary.
step_head() {
	local found card driver='unknown (no nvidia-smi)' capability=''
	found=$(gpu)
	card=${found#ok }
	if [[ $found == 'ok '* ]]; then
		capability=${card#*, compute capability } capability=${capability%%, *}
		card=${card%%, compute capability*}
	else
		card="**none: ${found#* }**"
	fi
	if command -v nvidia-smi >/dev/null; then
		driver=$(timeout 20 nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>&1 | head -n 1)
	fi
	printf '%s\t%s\n' date "$(date -u '+%F %H:%M UTC')" card "$card" driver "$driver" \
		'compute capability' "${capability:-unknown}" program "$(phi3 --version 2>&1)" \
		'code in the program' "$(cat "$KIT/CODE")"
}

step_doctor() {
	if command -v nvidia-smi >/dev/null; then nvidia-smi; fi
	phi3 doctor || return
	need_gpu
}

# ---- Figures

# figure NAME VALUE UNIT [GB/S [SD]]: records a figure. The summary compares GB/S with the two ceilings.
copy_rate='' read_rate=''
figure() {
	printf '%s,%s,%s,%s,%s,%s,%s,%s\n' "$STEP" "${1//,/}" "$2" "${5-}" "$3" "${4-}" \
		"$copy_rate" "$read_rate" >>"$FIGURES"
}

# Records the figures in a line of a Go benchmark, such as
# "BenchmarkGPU/decode_1/Attend-16   100   52 ns/op   1.2 GB/s". If it has a time in µs, this is of what the
# benchmark measures, and ns/op is of several of these.
bench_figures() {
	local fields name i value unit rate='' times=0
	read -ra fields <<<"$1"
	name=${fields[0]#Benchmark} name=${name#GPU/} name=${name//_/ }
	if [[ $name =~ -[0-9]+$ ]]; then name=${name%-*}; fi # the number of threads
	for ((i = 2; i + 1 < ${#fields[@]}; i += 2)); do
		[ "${fields[i + 1]}" != GB/s ] || rate=${fields[i]}
		[[ ${fields[i + 1]} != µs* ]] || times=1
	done
	for ((i = 2; i + 1 < ${#fields[@]}; i += 2)); do
		value=${fields[i]} unit=${fields[i + 1]}
		case $unit in
		ns/op)
			((times)) ||
				figure "$name" "$(awk -v ns="$value" 'BEGIN { printf "%.6g", ns / 1000 }')" µs "$rate"
			;;
		%copy | %read) ;; # the summary computes the shares
		GB/s | µs*) figure "$name" "$value" "$unit" "$rate" ;;
		*) figure "$name" "$value" "$unit" ;;
		esac
	done
}

# benchmarks PATTERN [FLAGS…]: runs benchmarks of internal/cuda. Prints each line and records its figures
# at once.
benchmarks() {
	test_binary cuda -test.run '^$' -test.bench "$1" "${@:2}" | while IFS= read -r line; do
		printf '%s\n' "$line"
		[[ $line != Benchmark*' ns/op'* ]] || bench_figures "$line"
	done
}

# benchtime TIME: prints how long a benchmark runs.
benchtime() { if [ "$SHORT" ]; then echo 1x; else echo "$1"; fi; }

# ceiling PATTERN BENCHTIME: prints the highest GB/s among benchmarks. Their lines go to stderr.
ceiling() {
	test_binary cuda -test.run '^$' -test.bench "$1" -test.benchtime "$2" | awk '
		{ print >"/dev/stderr" }
		/^Benchmark/ { for (i = 3; i < NF; i++) if ($(i + 1) == "GB/s" && $i > most) most = $i }
		END { if (most) print most }'
}

# Measures the highest rates at which this GPU copies and reads, for the figures that follow. These are
# useful even without the rates, so after an error here a step continues, and fails at its end with this
# function's status.
ceilings() {
	local status=0
	copy_rate=$(ceiling '^BenchmarkGPU$/^copy$' "$(benchtime 200ms)") || status=1
	[ -z "$copy_rate" ] || figure 'copy (bytes read and written)' "$copy_rate" GB/s "$copy_rate"
	read_rate=$(ceiling '^BenchmarkExperiment$/^read$/^(LDG|cp.async|bulk)$' "$(benchtime 20x)") || status=1
	[ -z "$read_rate" ] || figure 'read-only ceiling' "$read_rate" GB/s "$read_rate"
	return $status
}

# ---- The built-in model

step_verify() { phi3 verify --device cuda; }

step_generate() {
	local dtype on_gpu on_cpu
	for dtype in bf16 f32; do
		local generate=(generate --dtype "$dtype" --prompt 'The capital of Germany is' -n 16)
		on_gpu=$(phi3 "${generate[@]}" --device cuda -v --timings) || return
		on_cpu=$(phi3 "${generate[@]}" --device cpu 2>/dev/null) || return
		echo "$dtype:$on_gpu"
		[ "$on_gpu" = "$on_cpu" ] || fail "$dtype: the GPU writes '$on_gpu', the CPU '$on_cpu'"
	done
}

step_no-cache() {
	local sizes='-p 16 -n 64'
	[ -z "$SHORT" ] || sizes='-p 6 -n 4'
	# shellcheck disable=SC2086 # several words
	phi3 bench --device cuda --no-cache $sizes -r 1
}

# ---- Tests

# test_binary PACKAGE FLAGS…: runs a test binary in its package's folder, where it finds its testdata. If
# $alone is set, it runs for at most that many seconds.
alone=''
test_binary() (
	cd "$KIT/internal/$1" || exit
	limit=()
	[ -z "$alone" ] || limit=(timeout --foreground -k 5 "$alone")
	exec "${limit[@]}" "$KIT/$1.test" ${SHORT:+-test.short} "${@:2}"
)

# tally STATUS: ends a step whose tests ended with this status. Prints how many passed. If none passed and
# some were skipped, the step is skipped.
tally() {
	[ "$1" -eq 0 ] || exit "$1"
	awk '
		/^--- PASS: |^Benchmark.* ns\/op/ { passed++ }
		/^--- FAIL: / { failed++ }
		/^--- SKIP: / { skipped++; if (why == "") why = line }
		{ line = $0; sub(/^ *[a-z_0-9]+\.go:[0-9]+: /, "", line) }
		END {
			if (failed) exit 1
			if (!passed && !skipped) { print "no test ran"; exit 1 }
			if (!passed) { print why; exit 77 }
			printf "%d passed%s\n", passed, skipped ? ", " skipped " skipped (the first: " why ")" : ""
		}' "$OUTPUT"
	exit
}

# named NAME COMMAND…: runs a command. Prints a line if it was ended by its time limit, $alone.
named() {
	local status
	"${@:2}"
	status=$?
	case $status in 124 | 137) echo "--- FAIL: $1: no end within $alone s" ;; esac
	return $status
}

# The tests of single kernels. The step "backend" runs all tests except these, TestModels and the
# conformance tests.
KERNEL_TESTS='^Test(Reference)?(Linear|Attention)$|^Test(Unpack|Linear(Batch|Quantized|Specials))$|'
KERNEL_TESTS+='^Test(RMSNorm|Argmax|EmbedAndCopyRows)$'

step_conformance() {
	test_binary cuda -test.v -test.run '^TestConformance'
	tally $?
}

# Runs each test in its own process, so that one that loses the GPU's context, or never ends, does not
# stop the others.
step_kernels() {
	local name status=0
	alone=90
	for name in $(test_binary cuda -test.list "$KERNEL_TESTS"); do
		named "$name" test_binary cuda -test.v -test.run "^$name\$" || status=1
	done
	tally $status
}

step_models() {
	local pattern='^TestModels$'
	[ -z "$SHORT" ] || pattern+='/^(float32|bits|argmax)$/^mini$'
	test_binary cuda -test.v -test.run "$pattern"
	tally $?
}

step_backend() {
	test_binary cuda -test.v -test.skip "^TestConformance|^TestModels\$|$KERNEL_TESTS"
	tally $?
}

step_commands() {
	test_binary cli -test.v -test.run '^TestCUDA'
	tally $?
}

# ---- A model of full size

# --short uses the built-in model's sizes, and a 20th of each prompt.
context=4096 generated=64 repetitions=3
[ -z "$SHORT" ] || context=512 generated=4 repetitions=1

step_checkpoint() {
	local from=(--preset phi-3-mini) free need=7700000 # KB
	[ -z "$MODEL" ] || skip "--checkpoint gives the model: $MODEL"
	[ -z "$SHORT" ] || from=(--config "$KIT/internal/demo/checkpoint/config.json") need=10000
	need_gpu # without one the checkpoint is not needed
	free=$(df --output=avail -k "$WORK" | tail -n 1)
	[ "$free" -ge $need ] ||
		fail "no room: the checkpoint takes $need KB, $WORK has $free KB; TMPDIR names another place"
	"$KIT/random-checkpoint" "${from[@]}" --tokenizer "$KIT/internal/demo/checkpoint" --out "$CHECKPOINT"
}

need_checkpoint() {
	need_gpu
	[ -f "$CHECKPOINT/config.json" ] || fail 'there is no checkpoint to measure: see the step checkpoint'
}

# columns WHO: records the figures of a CSV on stdin. It is from phi3 bench, or from
# bench_transformers.py, which has the same columns.
columns() {
	local name value unit rate sd
	awk -F, -v who="$1" '
		function get(name) { return name in column ? $column[name] : "" }
		{ gsub(/"[^"]*"/, "quoted") } # commas in quotes separate nothing
		$1 == "model" { for (i = 1; i <= NF; i++) column[$i] = i; next }
		{
			rate = get("decode_gb_per_s")
			decode = who "decode after " get("n_prompt") " tokens"
			prefill = who "prefill of " get("n_prompt") " tokens"
			several = get("repetitions") + 0 == 1 ? 0 : 1 # one measurement has no deviation
			decode_sd = several ? get("decode_tokens_per_s_sd") : ""
			prefill_sd = several ? get("prefill_tokens_per_s_sd") : ""
			print decode "," get("decode_tokens_per_s") ",tokens/s," rate "," decode_sd
			if (rate != "") print decode "," rate ",GB/s," rate ","
			print prefill "," get("prefill_tokens_per_s") ",tokens/s,," prefill_sd
			flops = get("prefill_gflop_per_s")
			if (flops != "") print prefill "," flops / 1000 ",TFLOP/s,,"
			print prefill "," get("first_token_ms") ",ms,,"
			print who "load," get("load_ms") ",ms,,"
		}' | while IFS=, read -r name value unit rate sd; do
		figure "$name" "$value" "$unit" "$rate" "$sd"
	done
}

phi3_bench() { # phi3_bench PROMPT GENERATED
	phi3 bench --device cuda --model "$CHECKPOINT" --ctx-size $context -p "$1" -n "$2" -r $repetitions -o csv
}

bench() { # bench PROMPT
	local prompt=$1
	[ -z "$SHORT" ] || prompt=$((prompt / 20))
	need_checkpoint
	ceilings
	local status=$?
	phi3_bench "$prompt" $generated | tee "$WORK/csv" || return
	columns '' <"$WORK/csv"
	return $status
}

step_bench-100() { bench 100; }
step_bench-512() { bench 512; }
step_bench-2048() { bench 2048; }
step_bench-4000() { bench 4000; }

step_first-token() {
	local start i
	need_checkpoint
	cat "$CHECKPOINT"/*.safetensors >/dev/null # into the page cache
	for ((i = 0; i < repetitions; i++)); do
		start=$EPOCHREALTIME
		phi3 generate --device cuda --model "$CHECKPOINT" --ctx-size 512 --prompt Hello -n 1 --ignore-eos \
			--timings || return
		figure 'program start to first token' "$(seconds_since "$start")" s
	done
}

seconds_since() { awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.3f", to - from }'; }

step_kernel-times() {
	local status
	need_gpu
	ceilings
	status=$?
	benchmarks '^BenchmarkGPU$' -test.benchtime "$(benchtime 1s)" && return $status
}

# ---- Experiments

# The questions of BenchmarkExperiment, the most valuable first: what B1 and B4, B3, B2, B5 and unpacking in
# registers are worth. Each runs in its own process, so that one that loses the GPU's context, or never ends,
# does not stop the others. The last process runs the questions that are not in this list.
QUESTIONS='chain token attention batch quantized empty read carve-out barrier wgmma'

step_experiments() {
	local question status=0
	[ "$(test_binary cuda -test.list '^BenchmarkExperiment$')" ] || skip 'this kit has no experiments'
	need_gpu
	ceilings # a failure shows again below
	for question in $QUESTIONS; do
		alone=60 named "BenchmarkExperiment/$question" \
			benchmarks "^BenchmarkExperiment\$/^$question\$" -test.v \
			-test.benchtime "$(benchtime 20x)" || status=1
	done
	named 'more experiments' benchmarks '^BenchmarkExperiment$' -test.v \
		-test.skip "^BenchmarkExperiment\$/^(${QUESTIONS// /|})\$" || status=1
	tally $status
}

# ---- compute-sanitizer

# Some tests cause errors of the driver on purpose. These are not findings.
sanitizer() { # sanitizer FLAGS…
	local tool
	PATH=$PATH:/usr/local/cuda/bin
	tool=$(command -v compute-sanitizer) ||
		skip 'there is no compute-sanitizer, which comes with the CUDA toolkit'
	cd "$KIT/internal/cuda" || return
	"$tool" --target-processes application-only --error-exitcode 1 "$@" \
		"$KIT/cuda.test" -test.v -test.short -test.run "$KERNEL_TESTS"
	tally $?
}

step_memcheck() { sanitizer --tool memcheck --report-api-errors no; }
step_racecheck() { sanitizer --tool racecheck; }

# ---- Others

step_transformers() {
	local python=${PYTHON:-python3} why round sizes='100:128 2048:32' size
	command -v "$python" >/dev/null || skip "there is no $python"
	why=$("$python" -c '
import torch, transformers
assert torch.cuda.is_available(), "torch sees no GPU"' 2>&1) || skip "${why##*$'\n'}"
	[ -z "$SHORT" ] || sizes='5:4 25:2'
	need_checkpoint
	ceilings || return
	repetitions=1
	for round in 1 2 3; do
		echo "round $round"
		for size in $sizes; do
			phi3_bench "${size%:*}" "${size#*:}" | tee "$WORK/csv" || return
			columns 'phi3: ' <"$WORK/csv"
		done
		# shellcheck disable=SC2086 # several words
		"$python" "$KIT/bench_transformers.py" "$CHECKPOINT" $sizes | tee "$WORK/csv" || return
		columns 'transformers: ' <"$WORK/csv"
	done
}

STEP=$1
"step_$1"

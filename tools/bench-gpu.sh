#!/usr/bin/env bash
# Measures phi3 on an NVIDIA GPU, beside Hugging Face transformers where python3 has it with CUDA, and appends a dated table to a file:
#
#     tools/bench-gpu.sh PHI3 CUDA_TEST CHECKPOINT
#
# PHI3 is the program, CUDA_TEST the test binary of internal/cuda, both built with -tags cuda; CHECKPOINT the directory of a Phi-3-mini.
# `make bench-gpu` builds them and writes random weights; but nothing here needs Go, so they can be made elsewhere and carried to the GPU.
# OUT names the file (docs/gpu-bench.md), ROUNDS how often everything is measured (an odd number, 3), PYTHON the interpreter (python3).
set -euo pipefail
export LC_ALL=C

phi3=$1 cuda_test=$2 checkpoint=$3
out=${OUT:-docs/gpu-bench.md} rounds=${ROUNDS:-3} python=${PYTHON:-python3}
tools=$(dirname "$0")
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT

# Prompt and generated tokens: a long prompt for prefill, a short one for decoding and for the first token after a cold start of the program.
long="2048 32" short="16 128"

with_transformers=
if "$python" -c 'import torch, transformers; assert torch.cuda.is_available()' 2>/dev/null; then
	with_transformers=yes
else
	echo "$python has no torch with CUDA and transformers: phi3 is measured alone" >&2
fi

echo "kernels …" >&2
PHI3_TEST_GPU=1 "$cuda_test" -test.run '^$' -test.bench GPU -test.timeout 20m | tee "$results/kernels" >&2
copy=$(awk '/^BenchmarkGPU.copy/ { for (i = 2; i <= NF; i++) if ($i == "GB/s") print $(i - 1) }' "$results/kernels")

cat "$checkpoint"/*.safetensors >/dev/null # into the page cache, for both
measure() { # measure NAME COMMAND…: appends the CSV that it prints
	"${@:2}" | tail -n +2 >>"$results/$1"
}
header=$("$phi3" bench -p 1 -n 1 -r 1 --device cpu -o csv 2>/dev/null | head -n 1)
for round in $(seq "$rounds"); do
	for size in long short; do
		read -r prompt generated <<<"${!size}"
		echo "round $round of $rounds, prompt of $prompt …" >&2
		measure "phi3-$size" "$phi3" bench --device cuda --model "$checkpoint" --ctx-size 4096 -p "$prompt" -n "$generated" -r 3 -o csv
		if [ "$with_transformers" ]; then
			measure "transformers-$size" "$python" "$tools/bench_transformers.py" "$checkpoint" "$prompt" "$generated"
		fi
	done
done

# median FILE COLUMN [FACTOR]: the middle of the rounds. Commas inside quotes are no columns.
median() {
	{ echo "$header"; cat "$results/$1"; } | awk -F, -v name="$2" -v factor="${3:-1}" '
		{ gsub(/"[^"]*"/, "quoted") }
		NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) column = i; next }
		{ print $column * factor }' | sort -g | sed -n "$(((rounds + 1) / 2))p"
}
calc() { awk "BEGIN { printf \"%.${2:-1}f\", $1 }"; }

# row WHO COLUMNS…: one program's line of the table. A token takes 7.248 GFLOP in the layers' matrix products, two for each of their weights.
row() {
	local decode prefill bytes
	decode=$(median "$1-short" decode_tokens_per_s)
	prefill=$(median "$1-long" prefill_tokens_per_s)
	bytes=$(median phi3-short decode_bytes_per_token)
	local gbs; gbs=$(calc "$decode * $bytes / 1e9" 3)
	local load first; load=$(median "$1-short" load_ms 0.001); first=$(median "$1-short" first_token_ms 0.001)
	echo "| $1 | $(calc "$decode") | $(calc "$gbs" 0) | $(calc "100 * $gbs / $copy") % | $(calc "$prefill" 0) | $(calc "$prefill * 7.248e9 / 1e12" 0) | $(calc "$load" 2) | $(calc "$load + $first" 2) |"
}

# The kernels' lines of Go's benchmark as rows: name, time, and the figures each reports.
kernels() {
	awk '/^Benchmark/ {
		name = $1; sub(/^BenchmarkGPU./, "", name); sub(/-[0-9]+$/, "", name); gsub(/_/, " ", name)
		time = gb = tflop = share = ""
		for (i = 3; i < NF; i++) {
			if ($(i + 1) == "ns/op") time = sprintf("%.1f", $i / 1000)
			if ($(i + 1) == "GB/s") gb = $i
			if ($(i + 1) == "TFLOP/s") tflop = $i
			if ($(i + 1) == "%copy") share = $i " %"
		}
		print "| " name " | " time " | " gb " | " share " | " tflop " |"
	}' "$results/kernels"
}

gpu=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | head -n 1)
{
	echo
	echo "## $(date -u +%F), ${gpu%,*}, driver ${gpu##*, }"
	echo
	echo "Phi-3-mini with random weights in bfloat16; medians of $rounds rounds, the programs taking turns. A device-to-device copy runs at $copy GB/s"
	echo "(bytes read and written)."
	[ "$with_transformers" ] && "$python" -c 'import torch, transformers
print(f"transformers {transformers.__version__} with torch {torch.__version__} (CUDA {torch.version.cuda}), bfloat16, SDPA, greedy generate().")'
	echo
	echo "| | decode, tokens/s | GB/s | of the copy | prefill of ${long% *}, tokens/s | TFLOP/s | load, s | first token from a warm page cache, s |"
	echo "|---|---|---|---|---|---|---|---|"
	row phi3
	[ "$with_transformers" ] && row transformers
	echo
	echo "Decoding is ${short#* } tokens after a prompt of ${short% *}. GB/s counts the weights and the KV cache that a token needs, TFLOP/s the layers' matrix"
	echo "products. The commands, run by \`make bench-gpu\`:"
	echo '```'
	for size in long short; do
		read -r prompt generated <<<"${!size}"
		echo "phi3 bench --device cuda --model DIR --ctx-size 4096 -p $prompt -n $generated -r 3"
		[ "$with_transformers" ] && echo "python3 tools/bench_transformers.py DIR $prompt $generated"
	done
	echo "PHI3_TEST_GPU=1 go test -tags cuda ./internal/cuda -run '^\$' -bench GPU"
	echo '```'
	echo
	echo "| kernel | µs | GB/s | of the copy | TFLOP/s |"
	echo "|---|---|---|---|---|"
	kernels
} >"$results/table"
cat "$results/table" >>"$out"
cat "$results/table"

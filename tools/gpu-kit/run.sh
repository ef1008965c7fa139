#!/usr/bin/env bash
# Checks and measures phi3 on this machine's NVIDIA GPU. It needs bash, coreutils, awk and the files
# beside it. It needs no Go and no network. steps.sh runs the steps, summary.sh writes the results.
set -u
shopt -s extglob
export LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export KIT=$here

usage() {
	cat <<'TEXT'
usage: run.sh MINUTES [OUTDIR]

Runs the steps that --list shows, the most valuable first, for at most MINUTES (a number such as 10 or 0.5).
A step that fails does not stop the next. The results are in OUTDIR (./gpu-results) as soon as they exist:
  summary.md   what passed, what failed and why, and every figure
  figures.csv  the figures
  steps/*.txt  what each step printed
  all.txt      everything in one file, to copy by hand

  --list            list the steps and the most seconds that each may take
  --only A,B        run these steps only (and checkpoint, if they need it)
  --skip A,B        leave these steps out
  --checkpoint DIR  measure this model instead of a Phi-3-mini with random weights (7.6 GB)
  --short           small sizes and a selection of the tests: a first look, or an emulated GPU

Exit status: 0 if no step failed, 1 if one did, 2 for wrong usage, 128 + n after signal n.
TEXT
}

# Name, time limit in seconds, purpose. The most valuable step is first.
steps=(
	"doctor        30 the driver, the GPU"
	"verify        90 phi3 verify: the built-in model against published numbers, in both types"
	"generate      60 phi3 generate: the same text as on the CPU, in both types"
	"no-cache      60 phi3 bench --no-cache: the same bits with the KV cache and without it"
	"conformance   60 mma, ldmatrix, cp.async, wgmma against what the emulator assumes"
	"kernels      180 every kernel against its float64 reference"
	"models       180 whole models against transformers' numbers; the same bits in every way to compute them"
	"checkpoint   150 writes a Phi-3-mini with random weights, into memory where there is room"
	"bench-100     60 decode and prefill, prompt of 100 tokens"
	"bench-4000    60 decode and prefill, prompt of 4,000 tokens"
	"kernel-times 120 every operation by the GPU's clock"
	"experiments  300 the experiments of kernels/experiments, each in a process of its own"
	"bench-2048    60 decode and prefill, prompt of 2,048 tokens"
	"bench-512     60 decode and prefill, prompt of 512 tokens"
	"first-token   60 from the start of the program to the first token, warm page cache"
	"backend      180 the rest of the CUDA backend's tests: memory, streams, graphs, uploads"
	"commands     120 the command line on the GPU"
	"memcheck     180 compute-sanitizer memcheck on the kernels' tests"
	"racecheck    180 compute-sanitizer racecheck on the kernels' tests"
	"transformers 300 Hugging Face transformers on the same checkpoint, in turn with phi3"
)

bad_usage() {
	echo "run.sh: $1" >&2
	exit 2
}

# ---- What to run

declare -A limit state words took
names=() only='' skip='' minutes='' out='' model='' SHORT=''

read_steps() {
	local line name seconds
	for line in "${steps[@]}"; do
		read -r name seconds _ <<<"$line"
		names+=("$name")
		limit[$name]=$seconds state[$name]='not run' words[$name]='run.sh ended before it' took[$name]=''
	done
}

check_names() { # check_names OPTION A,B
	local name
	[[ -z $2 || $2 == *[!,]* ]] || bad_usage "$1 '$2' names no step"
	for name in ${2//,/ }; do
		[ "${limit[$name]-}" ] || bad_usage "$1: there is no step $name; the steps are ${names[*]}"
	done
}

arguments() {
	while [ $# -gt 0 ]; do
		case $1 in
		-h | --help) usage && exit ;;
		--list) printf '%s\n' "${steps[@]}" && exit ;;
		--short) SHORT=yes ;;
		--only | --skip | --checkpoint)
			[ $# -ge 2 ] || bad_usage "$1 needs a value"
			case $1 in --only) only=$2 ;; --skip) skip=$2 ;; --checkpoint) model=$2 ;; esac
			shift
			;;
		-*) bad_usage "there is no option $1; --help lists them" ;;
		*)
			[ -z "$out" ] || bad_usage "unexpected argument $1"
			if [ "$minutes" ]; then out=$1; else minutes=$1; fi
			;;
		esac
		shift
	done
	[[ $minutes =~ ^[0-9]+(\.[0-9]+)?$ && $minutes =~ [1-9] ]] ||
		bad_usage "MINUTES is '$minutes', not a number above 0 such as 10 or 0.5; --help says more"
	[ -z "$model" ] || [ -f "$model/config.json" ] ||
		bad_usage "--checkpoint $model: there is no $model/config.json"
	check_names --only "$only"
	check_names --skip "$skip"
	out=${out:-gpu-results}
}

chosen() { # chosen NAME: whether the options ask for this step
	local list=",$only,"
	[[ $list == *,@(bench-*|first-token|transformers),* ]] && list+=checkpoint,
	words[$1]='left out by --only'
	[[ -z $only || $list == *,$1,* ]] || return
	words[$1]='left out by --skip'
	[[ ",$skip," != *,$1,* ]]
}

# ---- Results

# All results are written again after every step, so that there is a summary however this script ends.
write_down() {
	local name
	for name in "${names[@]}"; do
		printf '%s\t%s\t%s\t%s\n' "$name" "${state[$name]}" "${took[$name]}" "${words[$name]}"
	done >"$work/results"
	RESULTS=$work/results bash "$KIT/summary.sh" "$out"
}

finish() { # finish NAME STATE WORDS
	local text=${3//|/\\|}
	state[$1]=$2 words[$1]=$text
	echo "$1: $2${took[$1]:+, ${took[$1]} s}${text:+: $text}"
	write_down
}

# Keeps at most half a megabyte of a step's output: its beginning and its end.
trim() {
	local size half=$((1 << 18))
	size=$(wc -c <"$1")
	[ "$size" -gt $((2 * half)) ] || return 0
	{
		head -c $half "$1"
		printf '\n… %d bytes left out …\n' $((size - 2 * half))
		tail -c $half "$1"
	} >"$1.new" && mv "$1.new" "$1"
}

# ---- Running

seconds_left() { echo $((deadline - SECONDS)); }

run_step() { # run_step NAME
	local name=$1 file=$out/steps/$1.txt left seconds start status
	left=$(seconds_left)
	if [ "$left" -le 0 ]; then
		finish "$name" 'not run' 'no time left'
		return
	fi
	seconds=$((limit[$name] < left ? limit[$name] : left))
	state[$name]=running words[$name]='the summary was written during this step'
	write_down
	start=$SECONDS current=$name
	OUTPUT=$file timeout -k 5 $seconds bash "$KIT/steps.sh" "$name" >"$file" 2>&1 </dev/null &
	child=$!
	echo $child >"$work/step"
	wait $child
	status=$?
	child='' current='' took[$name]=$((SECONDS - start))
	trim "$file"
	judge "$name" "$status" "$seconds" "$file"
}

words_of() { awk -f "$KIT/words.awk" -v what="$1" -v status="${3-}" "$2"; } # words_of WHAT FILE [STATUS]

judge() { # judge NAME STATUS SECONDS FILE
	case $2 in
	0) finish "$1" passed "$(words_of passed "$4")" ;;
	77) finish "$1" skipped "$(words_of last "$4")" ;;
	124 | 137)
		if [ "$3" -lt "${limit[$1]}" ]; then
			finish "$1" stopped "no time left$(words_of where "$4")"
		else
			finish "$1" failed "no end within $3 s$(words_of where "$4")"
		fi
		;;
	*) finish "$1" failed "$(words_of failed "$4" "$2")" ;;
	esac
}

# An interruption ends the running step. The summary has the steps before it.
interrupted() { # interrupted NAME NUMBER
	trap '' INT TERM HUP
	local name
	for name in "${names[@]}"; do
		[[ ${words[$name]} != 'run.sh ended before it' ]] || words[$name]="interrupted by $1"
	done
	END="interrupted by $1"
	if [ "$child" ]; then kill -TERM "$child" && wait "$child"; fi
	if [ "$current" ]; then
		trim "$out/steps/$current.txt"
		finish "$current" stopped "interrupted by $1$(words_of where "$out/steps/$current.txt")"
	else
		write_down
	fi
	exit $((128 + $2))
}

# Ends and removes what a killed run left behind. A step that is still running uses the same GPU as this
# run, and its checkpoint may take 7.6 GB of memory.
remove_stale() {
	local folder process step
	for folder in {/dev/shm,"${TMPDIR:-/tmp}"}/phi3-gpu-kit.*.*; do
		process=${folder%.*} process=${process##*.}
		if [ -O "$folder" ] && ! kill -0 "$process" 2>/dev/null; then
			step=$(cat "$folder/step" 2>/dev/null)
			if [ "$step" ] && grep -qs steps.sh "/proc/$step/cmdline"; then kill -TERM "$step"; fi
			rm -rf "$folder"
		fi
	done
}

# The folder for the checkpoint: in memory if there is room, otherwise in the folder for temporary files.
workplace() {
	local free
	free=$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1)
	if [ -w /dev/shm ] && [ "${free:-0}" -gt 9000000 ]; then
		mktemp -d "/dev/shm/phi3-gpu-kit.$$.XXXXXX"
	else
		mktemp -d "${TMPDIR:-/tmp}/phi3-gpu-kit.$$.XXXXXX"
	fi
}

prepare() {
	mkdir -p "$out/steps" || bad_usage "the folder $out cannot be made"
	out=$(cd "$out" && pwd)
	rm -f "$out"/steps/*.txt "$out"/{summary.md,all.txt,figures.csv}
	remove_stale
	work=$(workplace) || bad_usage 'no folder for temporary files can be made; TMPDIR names another place'
	trap 'rm -rf "$work"' EXIT
	: >"$work/head"
	trap 'interrupted SIGHUP 1' HUP
	trap 'interrupted SIGINT 2' INT
	trap 'interrupted SIGTERM 15' TERM
	export SHORT FIGURES=$out/figures.csv WORK=$work MODEL=$model CHECKPOINT=${model:-$work/checkpoint}
	export END='not at its end'
	export COMMAND="run.sh $*" HF_HOME=${HF_HOME:-$work/hub} PHI3_TEST_GPU=1
	[ -z "$model" ] || CHECKPOINT=$(cd "$model" && pwd)
	echo 'step,figure,value,sd,unit,gb_per_s,copy_gb_per_s,read_gb_per_s' >"$FIGURES"
	chmod +x "$KIT"/{phi3,random-checkpoint,gpu-model,*.test} 2>/dev/null
	timeout -k 5 60 bash "$KIT/steps.sh" head >"$work/head" 2>&1 </dev/null &
	child=$!
	wait $child
	child=''
}

main() {
	local name failed=0
	read_steps
	arguments "$@"
	child='' current=''
	deadline=$((SECONDS + $(awk -v m="$minutes" 'BEGIN { printf "%d", 60 * m }')))
	for name in "${names[@]}"; do
		if chosen "$name"; then words[$name]='run.sh ended before it'; fi
	done
	prepare "$@"
	for name in "${names[@]}"; do
		[[ ${words[$name]} == 'left out by '* ]] || run_step "$name"
	done
	END=complete
	write_down
	for name in "${names[@]}"; do
		[ "${state[$name]}" != failed ] || failed=1
	done
	echo "$out/summary.md"
	return $failed
}

main "$@"

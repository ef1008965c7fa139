#!/usr/bin/env bash
# Runs every fuzz target for a time from its committed seeds, one on each core: tools/fuzz.sh 60s.
set -euo pipefail
export FUZZTIME=$1

# A failure that wrote no input to testdata/fuzz is Go's own: a worker that is still busy when the time is up
# counts as failed ("context deadline exceeded"), in one of fifty runs. The target then runs again. By default
# Go takes up to a minute to make an input smaller that reaches new code. With at most 20 steps for each, the
# targets with inputs of some KB make a hundred times as many tries.
fuzz() { # FILE:func TARGET
	local folder=./${1%/*} target=${1##*:func }
	local run=(go test "$folder" -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZTIME" -fuzzminimizetime 20x
		-parallel 1)
	for _ in 1 2 3 4 5; do
		"${run[@]}" && return
		[ -z "$(git status --porcelain -- "$folder/testdata/fuzz")" ] || return
	done
	return 1
}
export -f fuzz
grep -roE '^func Fuzz[A-Za-z]+' --include='*_test.go' internal |
	xargs -d '\n' -n 1 -P "$(nproc)" bash -c 'fuzz "$1"' fuzz

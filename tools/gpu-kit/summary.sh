#!/usr/bin/env bash
# Writes summary.md and all.txt into a folder of results: summary.sh OUTDIR. run.sh calls it after every
# step. The file $RESULTS has a line for each step: name, state, seconds and words, separated by tabs.
set -u
export LC_ALL=C
out=$1

head_table() {
	echo "# phi3 on a GPU: $(awk -F'\t' '$1 == "card" { print $2 }' "$WORK/head")"
	echo
	echo '| | |'
	echo '|---|---|'
	awk -F'\t' '{ print "| " $1 " | " $2 " |" }' "$WORK/head"
	cat "$out"/steps/{verify,generate}.txt 2>/dev/null | awk '
		match($0, /native code for sm_[0-9a-z]+|PTX, compiled by the driver/) {
			code = substr($0, RSTART, RLENGTH)
		}
		/; compute capability / { report = $0 }
		END {
			print "| code used | " (code == "" ? "unknown" : code) " |"
			gsub(/[|]/, "\\|", report)
			if (report != "") print "| phi3 verify, for a bug report | " report " |"
		}'
	local model='Phi-3-mini with random weights' sizes=full
	if [ "$SHORT" ]; then
		model="a model of the built-in one's sizes, with random weights"
		sizes='--short: a selection of the tests, a 20th of each prompt'
	fi
	echo "| measured model | ${MODEL:-$model} |"
	echo "| sizes | $sizes |"
	echo "| command | $COMMAND |"
	echo "| this run | $END |"
}

steps_table() {
	echo '| step | result | seconds | words |'
	echo '|---|---|---|---|'
	awk -F'\t' '{
		mark = $2 == "failed" || $2 == "stopped" ? "**" : ""
		print "| " $1 " | " mark $2 mark " | " $3 " | " $4 " |"
		count[$2]++
	}
	END {
		printf "\n"
		states = split("passed,failed,stopped,skipped,not run,running", order, ",")
		for (i = 1; i <= states; i++)
			if (order[i] in count) printf "%s%d %s", n++ ? ", " : "", count[order[i]], order[i]
		print ""
	}' "$RESULTS"
}

# Writes what the model on paper predicts for the figures, or the reason why it predicts nothing. With
# --short the benchmarks and experiments have other sizes than the model.
predict() {
	local config=() others='^(kernel-times|experiments),'
	[ ! -f "$CHECKPOINT/config.json" ] || config=(-config "$CHECKPOINT/config.json")
	grep -vE "${SHORT:+$others|}^\$" "$FIGURES" >"$WORK/measured"
	"$KIT/gpu-model" -card "$(awk -F'\t' '$1 == "card" { print $2 }' "$WORK/head")" "${config[@]}" \
		-figures "$WORK/measured" >"$WORK/predictions" 2>"$WORK/no-predictions" ||
		printf '\nThere are no predictions: %s\n' "$(cat "$WORK/no-predictions")"
}

# A figure that was measured several times is shown as the median.
figures_table() {
	echo '| step | figure | value | unit | predicted | of the prediction | of the copy |' \
		'of the read-only ceiling |'
	echo '|---|---|---|---|---|---|---|---|'
	awk -F, -v predictions="$WORK/predictions" '
	BEGIN {
		while ((getline line <predictions) > 0) {
			split(line, part, FS)
			predicted[part[1] FS part[2] FS part[3]] = part[4]
		}
	}
	function digits(x) { return x >= 1000 ? sprintf("%.0f", x) : sprintf("%.4g", x) }
	function share(part, whole) {
		return part == "" || whole == "" ? "–" : sprintf("%.3g %%", 100 * part / whole)
	}
	function median(list,    n, i, j, x, t) {
		n = split(list, x, " ")
		for (i = 2; i <= n; i++)
			for (j = i; j > 1 && x[j] + 0 < x[j - 1] + 0; j--) { t = x[j]; x[j] = x[j - 1]; x[j - 1] = t }
		return n % 2 ? x[(n + 1) / 2] : (x[n / 2] + x[n / 2 + 1]) / 2
	}
	NR == 1 { next }
	{
		key = $1 FS $2 FS $5
		if (!(key in times)) order[++keys] = key
		times[key]++
		values[key] = values[key] " " $3
		sd[key] = $4
		if ($6 != "") rates[key] = rates[key] " " $6
		copy[key] = $7
		read[key] = $8
	}
	END {
		for (i = 1; i <= keys; i++) {
			key = order[i]
			split(key, part, FS)
			middle = median(values[key])
			value = digits(middle)
			guess = key in predicted ? digits(predicted[key]) : "–"
			guess = guess " | " share(middle, predicted[key])
			if (times[key] > 1) value = value " (median of " times[key] ")"
			else if (sd[key] != "") value = value " ± " digits(sd[key])
			rate = key in rates ? median(rates[key]) : ""
			shares = share(rate, copy[key]) " | " share(rate, read[key])
			print "| " part[1] " | " part[2] " | " value " | " part[3] " | " guess " | " shares " |"
		}
	}' "$FIGURES"
}

# Writes what each of the changes B1 to B5 of docs/cuda.md gains, as far as the experiments measured it.
changes_table() {
	awk -F, '
	$1 == "experiments" && $5 ~ /^µs/ {
		name = substr($2, length("Experiment/") + 1)
		if ($5 == "µs/token") name = name " token"
		time[name] = $3 # in a run of several processes, that of the last
	}
	function row(change, figure, without, with) {
		if (without == "" || with == "") return
		if (!rows++) {
			print "\n## What each change gains\n\nIn µs. docs/cuda.md describes B1 to B5.\n"
			print "| change | measured on | without | with | gain |"
			print "|---|---|---|---|---|"
		}
		printf "| %s | %s | %.4g | %.4g | %.3g %% |\n",
			change, figure, without, with, 100 * (1 - with / without)
	}
	function products(tokens, kernel,    parts, i, key, sum) {
		split("qkv o gate-up down", parts, " ")
		for (i = 1; i <= 4; i++) {
			key = "batch/" parts[i] "/" tokens "tokens/" kernel
			if (!(key in time)) return ""
			sum += time[key]
		}
		return sum
	}
	END {
		layers = "the products of all layers"
		for (mb = 4; mb <= 12; mb += 4)
			row("B1, " mb " MB", layers, time["chain/graph"], time["chain/prefetch-" mb "MB"])
		row("B4, rings of 64 KB", layers, time["chain/graph"], time["chain/pdl"])
		row("B4, rings of 96 KB", layers, time["chain/graph"], time["chain/pdl-96KB"])
		row("B1 and B4", layers, time["chain/graph"], time["chain/pdl-96KB+prefetch-12MB"])
		split("2k 16k 100k", cached, " ")
		for (i = 1; i <= 3; i++)
			row("B2", "attention at " cached[i], time["attention/" cached[i] "/serial-join"],
				time["attention/" cached[i] "/join"])
		row("B2, if the join took no time", "attention at 100k", time["attention/100k/join"],
			time["attention/100k/no-join"])
		row("B3", "a token at 100 cached tokens", time["token/100cached-waiting token"],
			time["token/100cached token"])
		for (tokens = 16; tokens <= 64; tokens *= 2)
			row("B5, " tokens " tokens", "the products of a layer", products(tokens, "prefill"),
				products(tokens, "batch"))
	}' "$FIGURES"
}

# Written to another file and then moved, so that there is always a complete summary.
{
	head_table
	printf '\n## Steps\n\n'
	steps_table
	changes_table
	printf '\n## Figures\n\n'
	printf 'Shares are of a copy (bytes read and written) and of the fastest read-only kernel,\n'
	printf 'both measured at the beginning of the same step.\n'
	printf 'Predictions are those of docs/gpu-model.md. They are computed, not measured.\n'
	predict
	echo
	figures_table
} >"$out/.summary" && mv "$out/.summary" "$out/summary.md"

{
	cat "$out/summary.md"
	for file in figures.csv $(awk -F'\t' '{ print "steps/" $1 ".txt" }' "$RESULTS"); do
		if [ -f "$out/$file" ]; then printf '\n==== %s\n' "$file" && cat "$out/$file"; fi
	done
} >"$out/.all" && mv "$out/.all" "$out/all.txt"
exit 0

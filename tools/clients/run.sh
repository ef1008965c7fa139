#!/usr/bin/env bash
# Runs real clients of the OpenAI protocol against phi3 serve with the built-in model: openai-python, llm and
# openai-node at the versions below, and curl. make test-clients calls it. Needs Go, curl, Python 3.10 with
# venv, and Node.js 20 with npm. It leaves out what is missing, and says so. The clients are installed into
# .cache/clients.
set -euo pipefail
cd "$(dirname "$0")/../.."
export here=$PWD/tools/clients cache=$PWD/.cache/clients
python=(openai==3.57.0 llm==0.36) node=openai@7.59.0

say() { echo "clients: $*" >&2; }
fail() { say "$*"; exit 1; }
missing() { command -v "$1" >/dev/null || { say "skipped $2: $1 is missing"; return 1; } }
missing curl "all tests" && missing go "all tests" || exit 0

# ---- The clients. The versions are in the folders' names. The file "complete" says that an installation was
# not interrupted.
venv=$cache/python-${python[0]}-${python[1]} modules=$cache/node-$node
install_python() {
	missing python3 "openai-python and llm" || return 1
	[ ! -f "$venv/complete" ] || return 0
	{ rm -rf "$venv" && python3 -m venv "$venv" && PIP_ROOT_USER_ACTION=ignore "$venv/bin/python" -m pip \
		install --quiet --disable-pip-version-check "${python[@]}" && touch "$venv/complete"; } \
		>"$cache/log" 2>&1 ||
		{ cat "$cache/log" >&2; say "skipped openai-python and llm: they cannot be installed"; return 1; }
}
install_node() {
	missing node openai-node && missing npm openai-node || return 1
	[ ! -f "$modules/complete" ] || return 0
	{ rm -rf "$modules" && mkdir "$modules" && npm install --silent --no-save --no-audit --no-fund \
		--prefix "$modules" "$node" && touch "$modules/complete"; } >"$cache/log" 2>&1 ||
		{ cat "$cache/log" >&2; say "skipped openai-node: it cannot be installed"; return 1; }
}
mkdir -p "$cache"

# ---- The servers: one for most tests, and a small one that refuses the fourth request.
export PHI3=$cache/phi3 PHI3_KEY=sk-test
CGO_ENABLED=0 go build -o "$PHI3" ./cmd/phi3
servers=()
trap 'for pid in "${servers[@]}"; do kill -9 "$pid" 2>/dev/null || true; done' EXIT
serve() { # NAME FLAG...: starts a server on a free port, and sets url
	local name=$1 log=$cache/$1.log pid
	shift
	PHI3_API_KEY=$PHI3_KEY "$PHI3" serve --device cpu --port 0 "$@" 2>"$log" >"$cache/$name.out" &
	pid=$!
	servers+=("$pid")
	for ((i = 0; i < 1200; i++)); do
		url=$(grep -ohE 'http://127\.0\.0\.1:[0-9]+' "$log" "$cache/$name.out" | head -n 1 || true)
		[ -z "$url" ] || ! curl -fs -o /dev/null "$url/health" || return 0
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
	cat "$log" >&2
	fail "$name did not start"
}
serve server --parallel 4 --queue 64
export PHI3_URL=$url
serve small --parallel 2 --queue 1 --ctx-size 1000064 # a request may never end by itself
export PHI3_SMALL_URL=$url

# ---- The tests.
failed=0
bash "$here/curl.sh" || failed=1
if install_python; then
	PATH=$venv/bin:$PATH "$venv/bin/python" -m unittest discover -s "$here" -p 'test_*.py' || failed=1
fi
if install_node; then
	cp "$here/node.test.mjs" "$modules"
	(cd "$modules" && node --test node.test.mjs >"$cache/log" 2>&1) || { failed=1; cat "$cache/log"; }
	grep -E '^# (tests|pass|fail) ' "$cache/log" | tr '\n' ' ' && echo
fi

# ---- SIGTERM ends a server with 0, within 40 seconds.
for pid in "${servers[@]}"; do
	kill -TERM "$pid"
	timeout 40 tail --pid="$pid" -f /dev/null || kill -9 "$pid"
	wait "$pid" || { failed=1; say "SIGTERM: a server ended with $?"; }
done
[ $failed = 0 ] || { tail -n 20 "$cache/server.log" >&2; fail "failed"; }
say "passed"

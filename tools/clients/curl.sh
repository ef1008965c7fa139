#!/usr/bin/env bash
# The protocol on the wire, by curl. run.sh calls it.
set -euo pipefail
say() { echo "curl: $*" >&2; }
checks=0 failed=0
expect() { # WHAT PATTERN TEXT: TEXT has a line that matches PATTERN
	checks=$((checks + 1))
	grep -qE -- "$2" <<<"$3" || { failed=1; say "$1: expected $2 in"; echo "$3" >&2; }
}
curl() { command curl -m 300 "$@"; }
json='Content-Type: application/json' key="Authorization: Bearer $PHI3_KEY"
post() { # PATH BODY FLAG...
	local path=$1 body=$2
	shift 2
	curl -sS "$PHI3_URL$path" -H "$json" -H "$key" -d "$body" "$@"
}
messages='[{"role":"user","content":"What is the capital of France?"}]'
chat='{"model":"phi3-demo","temperature":0,"messages":'$messages

# Everybody may ask for the health; everything else needs the key.
expect "health" '"status":"ok"' "$(curl -sS "$PHI3_URL/health")"
expect "no key" '^401$' "$(curl -sS -o /dev/null -w '%{http_code}' "$PHI3_URL/v1/models")"
expect "wrong key" '^401$' "$(curl -sS -o /dev/null -w '%{http_code}' -H "${key}x" "$PHI3_URL/v1/models")"
expect "models" '"id":"phi3-demo"' "$(curl -sS -H "$key" "$PHI3_URL/v1/models")"
expect "version" '"version":' "$(curl -sS -H "$key" "$PHI3_URL/version")"

expect "chat" '"content":"The capital of France is Paris\."' "$(post /v1/chat/completions "$chat}")"
stream=$(post /v1/chat/completions "$chat,\"stream\":true,\"stream_options\":{\"include_usage\":true}}" -i)
expect "stream: its type" '^[Cc]ontent-[Tt]ype: text/event-stream' "$stream"
expect "stream: a piece" '^data: \{.*"content":"' "$stream"
expect "stream: the usage, with no choices" '^data: \{.*"choices":\[\].*"usage":\{' "$stream"
expect "stream: the end" '^data: \[DONE\]' "$stream"

expect "tokenize" '303,288,285,1704,268' "$(post /tokenize '{"prompt":"The capital of Germany is"}')"
expect "detokenize" 'The capital of Germany is' "$(post /detokenize '{"tokens":[303,288,285,1704,268]}')"

# Errors have one shape: {"error":{message,type,param,code}}.
error='^\{"error":\{"message":".*","type":".*","param":.*,"code":.*\}\}'
expect "broken JSON" "$error" "$(post /v1/chat/completions '{"messages":')"
expect "a wrong value names its parameter" '"param":"temperature"' \
	"$(post /v1/chat/completions "${chat/\"temperature\":0/\"temperature\":-1}}")"
expect "tools are refused" '"param":"tools"' "$(post /v1/chat/completions "$chat,\"tools\":[{}]}")"
expect "no such route" "$error" "$(post /v1/nothing '{}')"
expect "no such route: 404" '^404$' "$(post /v1/nothing '{}' -o /dev/null -w '%{http_code}')"
expect "wrong method: 405" '^405$' \
	"$(curl -sS -o /dev/null -w '%{http_code}' -H "$key" "$PHI3_URL/v1/chat/completions")"
expect "a body that is too large: 413" '^413$' \
	"$(head -c 100000000 /dev/zero | tr '\0' ' ' |
		curl -sS -o /dev/null -w '%{http_code}' -H "$json" -H "$key" \
			--expect100-timeout 300 --data-binary @- "$PHI3_URL/v1/chat/completions" 2>/dev/null || true)"

# docs/serve.md lists the metrics and their kinds.
metrics=$(curl -sS -H "$key" "$PHI3_URL/metrics")
listed=$(sed -nE 's/^\| `(phi3:[a-z0-9_]+)` \| ([a-z]+) \|.*/\1 \2/p' docs/serve.md | sort)
given=$(sed -nE 's/^# TYPE (phi3:[a-z0-9_]+) ([a-z]+)$/\1 \2/p' <<<"$metrics" | sort)
checks=$((checks + 1))
diff <(echo "$listed") <(echo "$given") >&2 ||
	{ failed=1; say "the metrics of docs/serve.md (<) are not those of the server (>)"; }
echo "curl: $checks checks"
exit $failed

# Summarises the output of a step in one line. The variable what says how:
#   passed  the tally of its tests, if it has one
#   last    its last line
#   where   how far it got, after a comma
#   failed  why it failed: the line of a crash, the tests that failed with the first reason, or the last
#           line that is not empty
function strip(text) {
	gsub(/[\001-\037\177]+/, " ", text)
	gsub(/  +/, " ", text)
	gsub(/^ | $/, "", text)
	return text
}
function first(old, new) { return old == "" ? new : old }
function is_parent(name,    i) {
	for (i = 1; i <= count; i++)
		if (index(failed[i], name "/") == 1) return 1
	return 0
}
function tests(    i, n, list) { # the innermost tests that failed, three of them by name
	for (i = 1; i <= count; i++)
		if (!is_parent(failed[i]) && ++n <= 3) list = list (n > 1 ? ", " : "") failed[i]
	return n > 3 ? list " and " n - 3 " more" : list
}
function because(    reason) {
	if (crash != "") return (count ? tests() ": " : running != "" ? "in " running ": " : "") crash
	reason = first(first(first(script, said), error), logged)
	if (count) return tests() (reason == "" ? "" : ": " reason)
	if (finding != "") return finding (said == "" ? "" : "; " said)
	return first(first(said, last), "no output, exit status " status)
}

/^=== RUN / { running = $3 }
/^ *--- (PASS|FAIL|SKIP): / { running = "" }
/^--- FAIL: .*: no end within/ { crash = first(crash, strip(substr($0, index($0, "no end")))) }
/^ *--- FAIL: / { sub(/:$/, "", $3); if (!($3 in seen)) { seen[$3] = 1; failed[++count] = $3 } }
/^(panic: |fatal error: |SIG[A-Z]+: |unexpected fault)/ { crash = first(crash, strip($0)) }
/^ *phi3: / { said = strip($0); follows = 1; next }
/^ *---|^===|^ *\[|^ *$/ { follows = 0 }
follows { said = said " " strip($0) } # the log of a compiler
/^FAIL +[^ ]/ && !/^FAIL\t/ { finding = first(finding, strip($0)) } # a row of phi3 verify
# testscript: the last command's error is the reason
/^ +FAIL: / { script = first(script, first(said, strip($0))) }
/^ +[a-z_0-9]+_test\.go:[0-9]+: ./ { logged = first(logged, strip($0)) }

# testify: the text after "Error:" and the lines below it, up to the next label
/^ *\tError:/ { inside = 1; sub(/^ *\tError:/, ""); text = ""; }
inside && /^ *\t(Test|Messages|Error Trace):/ {
	inside = 0
	sub(/^ *Received unexpected error: /, "", text)
	error = first(error, strip(text))
}
inside { text = text " " strip($0) }

/^[ \t]*$|^(PASS|FAIL|ok|exit status|=== |goos|goarch|pkg|cpu|goroutine )|^ *--- |^FAIL\t/ { next }
{ last = strip($0) }

END {
	if (what == "passed") answer = last ~ /^[0-9]+ passed/ ? last : ""
	else if (what == "last") answer = last
	else if (what == "where")
		answer = running != "" ? ", in " running : last != "" ? "; last line: " last : ""
	else answer = because()
	if (length(answer) > 400) { # bytes, so the last character may be cut
		answer = substr(answer, 1, 400)
		sub(/[\300-\377][\200-\277]*$/, "", answer)
		answer = answer " …"
	}
	print answer
}

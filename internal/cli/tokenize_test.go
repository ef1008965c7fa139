package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The numbers of tokens, ids and decoded bytes are limited. Beyond a limit there is an error of one sentence.
func TestTokenizeIsBounded(t *testing.T) {
	defer func(n, m int) { maxTokens, maxDecoded = n, m }(maxTokens, maxDecoded)
	maxTokens, maxDecoded = 5, 20
	for _, c := range []struct {
		args []string
		want string // "": it works
	}{
		{[]string{"--prompt", "The capital of Germany is"}, ""},
		{
			[]string{"--prompt", "The capital of Germany is it"},
			"the text has more than 5 tokens; tokenize shows at most 5: cut it into parts",
		},
		{[]string{"--decode", "--prompt", "303 303 303"}, ""},
		{
			[]string{"--decode", "--prompt", "303 303 303 303"},
			"the ids stand for more than 20 B of text; tokenize decodes at most 20 B: cut them into parts",
		},
		{
			[]string{"--decode", "--prompt", "1 2 3 4 5 6"},
			"there are more than 5 ids; tokenize decodes at most 5: cut them into parts",
		},
	} {
		var out, err bytes.Buffer
		code := Main(append([]string{"tokenize"}, c.args...), strings.NewReader(""), &out, &err)
		if c.want == "" {
			require.Zero(t, code, "%v: %s", c.args, err.String())
			continue
		}
		require.Equal(t, 1, code, "%v", c.args)
		require.Equal(t, "phi3: "+c.want+"\n", err.String())
		require.Empty(t, out.String())
	}
}

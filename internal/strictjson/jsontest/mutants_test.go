package jsontest

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMutants(t *testing.T) {
	seen := map[string]bool{}
	for path, text := range Mutants([]byte(`{"a":[1,{"b":2}],"c":"d","e":3}`), 2) {
		require.True(t, json.Valid(text), "%s: %s", path, text)
		seen[string(text)] = true
	}
	for _, want := range []string{
		`"x"`, `{"c":"d","e":3}`, `{"A":[1,{"b":2}],"c":"d","e":3}`, `{"a":-1,"c":"d","e":3}`,
		`{"a":[1],"c":"d","e":3}`,
		`{"a":[1,1,{"b":2}],"c":"d","e":3}`, `{"a":[null,{"b":2}],"c":"d","e":3}`,
		`{"a":[1,{"b":[]}],"c":"d","e":3}`, `{"a":[1,{}],"c":"d","e":3}`,
	} {
		require.True(t, seen[want], want)
	}
	require.False(t, seen[`{"a":[1,{"b":2}],"c":"d","e":-1}`], "of an object, only the first few")
	for range Mutants([]byte(`{"a":1}`), 1) {
		break
	}
}

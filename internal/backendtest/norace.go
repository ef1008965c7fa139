//go:build !race

package backendtest

const slow = false

//go:build !unix

package cli

import "os/exec"

// ownSession does nothing: what rundll32 starts is not a part of this console.
func ownSession(*exec.Cmd) {}

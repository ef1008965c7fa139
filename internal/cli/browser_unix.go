//go:build unix

package cli

import (
	"os/exec"
	"syscall"
)

// ownSession keeps Ctrl-C in this terminal from ending the command too.
func ownSession(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

//go:build darwin || freebsd

package hub

import (
	"syscall"
	"time"
)

func accessTime(s *syscall.Stat_t) time.Time { return time.Unix(s.Atimespec.Unix()) }

package hub

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strconv"
	"time"
)

var rateLimitReset = regexp.MustCompile(`;\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d{1,9})\b`)

// waitAsked returns how long the server asks to wait: Retry-After in seconds or as a date, or the hub's
// RateLimit: "api";r=0;t=55.
func waitAsked(header http.Header, now time.Time) time.Duration {
	after := header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(after, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(after); err == nil {
		return max(0, at.Sub(now))
	}
	if m := rateLimitReset.FindStringSubmatch(header.Get("RateLimit")); m != nil {
		seconds, _ := strconv.Atoi(m[1])
		return time.Duration(seconds+1) * time.Second
	}
	return 0
}

const (
	firstPause  = time.Second
	longPause   = 30 * time.Second
	longestWait = 10 * time.Minute // that a server may ask for
)

// retry calls attempt until it succeeds, fails for a reason that does not pass, or has failed tries times in
// a row. An attempt with progress restarts the count. what names the download in notes.
func (p *pull) retry(
	ctx context.Context, what string, tries int, attempt func() (progress bool, err error),
) error {
	for failed := 1; ; failed++ {
		progress, err := attempt()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var status *statusError
		var network *networkError
		switch {
		case errors.As(err, &status):
			if !status.passing() {
				return err
			}
		case !errors.As(err, &network):
			return err
		}
		if progress {
			failed = 1
		}
		if failed >= tries {
			return &unreachable{err}
		}
		wait := min(firstPause<<(failed-1), longPause)
		wait += time.Duration(rand.Int64N(int64(wait) / 4)) // so that clients do not all return at once
		if status != nil && status.wait > 0 {
			if status.wait > longestWait {
				return &unreachable{fmt.Errorf("%w; the server asks to wait %s", err, status.wait)}
			}
			wait = status.wait
		}
		p.note("%s: %v; trying again in %s", what, err, wait.Round(100*time.Millisecond))
		if err := p.hub.pause(ctx, wait); err != nil {
			return err
		}
	}
}

// unreachable is the error after the last attempt.
type unreachable struct{ error }

func (e *unreachable) Unwrap() error { return e.error }

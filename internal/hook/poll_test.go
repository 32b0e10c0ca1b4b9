package hook

import (
	"context"
	"testing"
	"time"
)

// A wait that ends soon is noticed soon; one that lasts does not ask more often than needed.
func TestPausesBetweenQuestions(t *testing.T) {
	pause := firstPause
	for range 20 {
		pause = nextPause(pause, time.Minute)
	}
	if pause != briefPause {
		t.Errorf("after a minute it asks every %s, want %s", pause, briefPause)
	}
	for range 20 {
		pause = nextPause(pause, 3*time.Minute)
	}
	if pause != longestPause {
		t.Errorf("after three minutes it asks every %s, want %s", pause, longestPause)
	}
}

// late is a context whose time has passed, before its timer has run.
type late struct{ context.Context }

func (late) Deadline() (time.Time, bool) { return time.Now().Add(-time.Microsecond), true }

func TestOverByTheClock(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	soon, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		want bool
	}{"by the clock": {late{t.Context()}, true}, "ended": {ended, true}, "not yet": {soon, false}, "never": {t.Context(), false}} {
		if over(c.ctx) != c.want {
			t.Errorf("%s: over is %t", name, !c.want)
		}
	}
}

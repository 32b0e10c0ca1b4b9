package hook

import (
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

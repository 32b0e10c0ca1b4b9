package mask_test

import (
	"testing"

	"github.com/neutree-ai/packaging/internal/mask"
)

func TestHide(t *testing.T) {
	m := mask.Of("p@ss w/ord", "p@ss w/ord and more", "one\ntwo\nthree4", `say "friend"`, "abc")
	tests := map[string]string{
		"password is p@ss w/ord.":          "password is ***.",
		"postgres://u:p%40ss%20w%2Ford@db": "postgres://u:***@db",
		"q=p%40ss+w%2Ford":                 "q=***",
		"the longer p@ss w/ord and more":   "the longer ***",
		`{"x": "say \"friend\""}`:          `{"x": "***"}`,
		"line three4 of a file":            "line *** of a file",
		"cEBzcyB3L29yZA==":                 "***",
		"abc and one are too short":        "abc and one are too short",
	}
	for text, want := range tests {
		if got := m.Hide(text); got != want {
			t.Errorf("Hide(%q) = %q, want %q", text, got, want)
		}
	}
	if got := (mask.Mask{}).Hide("nothing"); got != "nothing" {
		t.Errorf("a mask without secrets changes text to %q", got)
	}
}

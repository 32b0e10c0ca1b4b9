package finding_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/neutree-ai/packaging/internal/finding"
)

func TestSentence(t *testing.T) {
	for want, f := range map[string]finding.Finding{
		"the port is taken":                                      {Found: "the port is taken"},
		"the port is taken: set another":                         {Found: "the port is taken", Fix: "set another"},
		"the port is taken: the Service is refused":              {Found: "the port is taken", Why: "the Service is refused"},
		"the port is taken: the Service is refused; set another": {Found: "the port is taken", Why: "the Service is refused", Fix: "set another"},
	} {
		if got := f.Sentence(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestList(t *testing.T) {
	a := finding.Finding{ID: "a.one", Found: "one", Fix: "do this"}
	b := finding.Finding{ID: "b.two", Found: "two"}
	if got, want := (finding.List{a}).Error(), "one: do this [a.one]"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := (finding.List{a, b}).Error(), "2 things must be changed first: (1) one: do this [a.one]; (2) two [b.two]"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := finding.Of(fmt.Errorf("prepare: %w", finding.List{a, b})); len(got) != 2 || got[1] != b {
		t.Errorf("the findings of an error are %v", got)
	}
	if got := finding.Of(errors.New("no finding")); got != nil {
		t.Errorf("another error has the findings %v", got)
	}
}

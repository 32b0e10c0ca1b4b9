package preflight_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/internal/preflight"
)

func TestParseNodes(t *testing.T) {
	for text, want := range map[string]int{"all": 0, "1": 1, "50": 50} {
		if got, err := preflight.ParseNodes(text); got != want || err != nil {
			t.Errorf("ParseNodes(%q) = %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "-1", "some"} {
		if _, err := preflight.ParseNodes(text); err == nil || !strings.Contains(err.Error(), "--nodes") {
			t.Errorf("ParseNodes(%q): %v, want an error that names the flag", text, err)
		}
	}
}

func TestParseModels(t *testing.T) {
	got, err := preflight.ParseModels([]string{"agent=codex,url=https://m.example/v1,name=big,secret=keys/api", "agent=goose, url=http://m, name=small"})
	want := []preflight.Model{
		{Agent: "codex", URL: "https://m.example/v1", Name: "big", Secret: "keys", Key: "api"}, {Agent: "goose", URL: "http://m", Name: "small"}}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("models (-want +got):\n%s", diff)
	}
	for text, want := range map[string]string{
		"agent=gpt,url=u,name=n":                    `"gpt"`,
		"agent=codex,url=u":                         "name=",
		"agent=codex,url=u,name=n,secret=keys":      "NAME/KEY",
		"agent=codex,url=u,name=n,password=hunter2": `"password"`,
	} {
		_, err := preflight.ParseModels([]string{text})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("ParseModels(%q): %v, want an error with %s", text, err, want)
		}
	}
}

func TestExitCode(t *testing.T) {
	tests := map[string]struct {
		summary preflight.Summary
		strict  bool
		want    int
	}{
		"passed":             {preflight.Summary{Passed: 3}, true, 0},
		"warning":            {preflight.Summary{Passed: 3, Warned: 1}, false, 0},
		"warning, strict":    {preflight.Summary{Warned: 1}, true, 3},
		"failed":             {preflight.Summary{Failed: 1, Warned: 1, Unproved: 1}, true, 2},
		"not carried out":    {preflight.Summary{Unproved: 1, Warned: 1}, true, 1},
		"timed out":          {preflight.Summary{Failed: 1, Unproved: 1, TimedOut: true}, false, 124},
		"interrupted":        {preflight.Summary{Unproved: 1, Interrupted: true}, false, 130},
		"everything skipped": {preflight.Summary{Skipped: 1}, true, 0},
	}
	for name, test := range tests {
		if got := test.summary.ExitCode(test.strict); got != test.want {
			t.Errorf("%s: exit code %d, want %d", name, got, test.want)
		}
	}
}

package main_test

import (
	"errors"
	"strings"
	"testing"

	plugin "github.com/neutree-ai/packaging/plugin"
)

// What the API server says of an object does not get at the terminal.
func TestWarningsAreCleaned(t *testing.T) {
	var printed strings.Builder
	plugin.Warn(&printed, errors.New("delete pod \x1b[2Jprobe: \x07denied"))
	if got := printed.String(); strings.ContainsAny(got, "\x1b\x07") || !strings.HasPrefix(got, "Warning: delete pod") {
		t.Errorf("it prints %q", got)
	}
}

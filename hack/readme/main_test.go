package main

import (
	"strings"
	"testing"
)

func TestMark(t *testing.T) {
	const values = `
# Whether it listens.
listenOnIPv6: false
# Which one:
#   auto   the first
#   never  none
mode: auto
`
	got := mark(values)
	for _, want := range []string{"# -- Whether it listens.\nlistenOnIPv6", "# -- Which one:\n# <br>`auto`: the first"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
}

func TestWhatHasNoDescription(t *testing.T) {
	const table = "| Key | Default | What it is |\n| --- | --- | --- |\n| `a.b` | `\"x\"` | A name. |\n| `a.c6` | `{}` |  |\n" +
		"| `d` | `\"\"` | |\n"
	if got := named(empty, table); got != "a.c6, d" {
		t.Errorf("rows without a description: %q", got)
	}
	const values = "    # Whether TLS is required:\n    #   auto    as it was\n    #   never\n    tls: auto\n# never\n# one two\n"
	if got := named(bare, values); got != "never" {
		t.Errorf("choices without a meaning: %q", got)
	}
}

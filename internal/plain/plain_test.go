package plain_test

import (
	"bytes"
	"fmt"
	"testing"
	"text/tabwriter"
	"unicode"

	"github.com/neutree-ai/packaging/internal/plain"
)

func TestText(t *testing.T) {
	for given, want := range map[string]string{
		"": "",
		"image not found: 镜像不存在\n\tnext line": "image not found: 镜像不存在\n\tnext line",
		"\x1b[2J\x1b[1;32mAll checks passed.": "^[[2J^[[1;32mAll checks passed.",
		"\x1b]0;title\a":                      "^[]0;title^G",
		"failed\rpassed":                      "failed^Mpassed",
		"del\x7f":                             "del^?",
		"\u009b31m":                           `\u009b31m`,
		"\u202egnp.exe":                       `\u202egnp.exe`,
		"zero\u200bwidth\ufeff":               `zero\u200bwidth\ufeff`,
		"broken \xff\x9b31m":                  `broken \xff\x9b31m`,
		"the replacement \ufffd itself":       "the replacement \ufffd itself",
		"👩\u200d💻":                            "👩\u200d💻",
	} {
		if got := plain.Text(given); got != want {
			t.Errorf("Text(%q) = %q, want %q", given, got, want)
		}
	}
}

func TestWriter(t *testing.T) {
	var out bytes.Buffer
	table := tabwriter.NewWriter(plain.Writer(&out), 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "NAME\tREASON\nb1\t\x1b[2J手动\n")
	if err := table.Flush(); err != nil || out.String() != "NAME  REASON\nb1    ^[[2J手动\n" {
		t.Errorf("%v: %q", err, out.String())
	}
}

func FuzzText(f *testing.F) {
	f.Add("\x1b[31m")
	f.Fuzz(func(t *testing.T, s string) {
		once := plain.Text(s)
		for _, r := range once {
			if unicode.IsControl(r) && r != '\n' && r != '\t' {
				t.Fatalf("Text(%q) = %q has the control character %U", s, once, r)
			}
		}
		if again := plain.Text(once); again != once {
			t.Errorf("a second time %q became %q", once, again)
		}
	})
}

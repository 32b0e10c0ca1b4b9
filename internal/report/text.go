package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/neutree-ai/packaging/internal/preflight"
)

// Look is how text is shown.
type Look struct {
	// Colour is set on a terminal that has it, Symbols where √, ‼ and × can be shown.
	Colour, Symbols bool
}

const (
	red    = "31"
	green  = "32"
	yellow = "33"
	dim    = "2"
	bold   = "1"
)

func (l Look) paint(colour, text string) string {
	if !l.Colour {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func (l Look) sign(status preflight.Status) string {
	signs := map[preflight.Status][3]string{
		preflight.Passed:   {"√", "[ok]  ", green},
		preflight.Warned:   {"‼", "[warn]", yellow},
		preflight.Failed:   {"×", "[fail]", red},
		preflight.Skipped:  {"-", "[skip]", dim},
		preflight.Unproved: {"?", "[err] ", red},
	}
	sign := signs[status]
	if l.Symbols {
		return l.paint(sign[2], sign[0])
	}
	return l.paint(sign[2], sign[1])
}

// text streams results, grouped by topic.
type text struct {
	to      io.Writer
	subject Subject
	look    Look
	topic   string
	err     error
}

func newText(to io.Writer, subject Subject, look Look) *text {
	return &text{to: to, subject: subject, look: look}
}

func (t *text) printf(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.to, format, args...)
	}
}

func (t *text) Err() error { return t.err }

func (t *text) Plan([]preflight.Check) {
	t.printf("%s of release %s (%s) in namespace %s on Kubernetes %s\n", t.subject.title(), t.subject.Release,
		t.subject.Chart, t.subject.Namespace, t.subject.Kubernetes)
}

func (t *text) Running([]string) {}

func (t *text) Result(result preflight.Result) {
	if topic, _, _ := strings.Cut(result.ID, "."); topic != t.topic {
		t.topic = topic
		t.printf("\n%s\n", t.look.paint(bold, topic))
	}
	line := result.Title + " " + t.look.paint(dim, "("+result.ID+")")
	switch result.Status {
	case preflight.Skipped:
		line = t.look.paint(dim, fmt.Sprintf("%s (%s): %s", result.Title, result.ID, result.Reason))
	case preflight.Unproved:
		line += "\n        could not be checked: " + result.Reason
	}
	t.printf("  %s %s\n", t.look.sign(result.Status), line)
	heavy := false
	for _, finding := range result.Findings {
		heavy = heavy || finding.Severity > preflight.Note
		t.finding(result.ID, finding)
	}
	if heavy || result.Status == preflight.Unproved {
		t.printf("        %s\n", t.look.paint(dim, t.subject.Link(result.ID)))
	}
}

// finding shows one, with its ID where that is not the check's.
func (t *text) finding(check string, finding preflight.Finding) {
	found := finding.Found
	if id := string(finding.ID); id != "" && id != check {
		found += " [" + id + "]"
	}
	lead := map[preflight.Severity]string{preflight.Note: "note", preflight.Warning: "warning", preflight.Error: "error"}[finding.Severity]
	colour := map[preflight.Severity]string{preflight.Note: dim, preflight.Warning: yellow, preflight.Error: red}[finding.Severity]
	t.printf("      %s: %s\n", t.look.paint(colour, lead), indent(found))
	for _, line := range detail(finding) {
		t.printf("        %-5s  %s\n", line.name, indent(line.text))
	}
}

func (t *text) End(summary preflight.Summary) {
	t.printf("\n%s", t.look.paint(bold, "Summary:"))
	counts := []struct {
		n         int
		one, many string
		always    bool
	}{
		{summary.Passed, "passed", "passed", true}, {summary.Warned, "warning", "warnings", false}, {summary.Failed, "failed", "failed", true},
		{summary.Unproved, "could not be checked", "could not be checked", false}, {summary.Skipped, "skipped", "skipped", false},
	}
	separator := " "
	for _, count := range counts {
		if count.n == 0 && !count.always {
			continue
		}
		word := count.many
		if count.n == 1 {
			word = count.one
		}
		t.printf("%s%d %s", separator, count.n, word)
		separator = ", "
	}
	t.printf(" (%s)\n", summary.Duration.Round(100*time.Millisecond))
	switch {
	case summary.Interrupted:
		t.printf("Interrupted: what was started is removed.\n")
	case summary.TimedOut:
		t.printf("The time for all checks was up; --timeout gives them more.\n")
	case summary.Failed > 0:
		t.printf("%s found errors. Fix them and run it again.\n", t.subject.title())
	case summary.Unproved > 0:
		t.printf("No errors found, but some checks could not run.\n")
	case summary.Warned > 0:
		t.printf("No errors found; read the warnings.\n")
	default:
		t.printf("All checks passed.\n")
	}
}

type field struct{ name, text string }

// detail is what a finding says beside its cause.
func detail(f preflight.Finding) []field {
	var lines []field
	for _, line := range []field{{"where", where(f)}, {"why", f.Why}, {"fix", f.Fix}} {
		if line.text != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// indent keeps what follows a line's end below it.
func indent(text string) string {
	return strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n               ")
}

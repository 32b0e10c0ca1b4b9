package report

import (
	"context"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/neutree-ai/packaging/internal/preflight"
)

// Docs is the page that explains each check.
const Docs = "https://github.com/neutree-ai/packaging/blob/main/docs/preflight.md"

// Screen is what a person looks at, or a file or a pipe in its place.
type Screen struct {
	// Results is where the report goes.
	Results  io.Writer
	Progress *Progress
	Look     Look
}

// NewScreen finds out what stdout and stderr are and how much they can show.
func NewScreen(stdout, stderr io.Writer) *Screen {
	s := &Screen{Progress: NewProgress(stderr, width(stderr))}
	s.Results = s.Progress.Writer(stdout)
	if width(stdout) > 0 {
		s.Look = Look{Colour: os.Getenv("NO_COLOR") == "" && os.Getenv("HELM_COLOR") != "never", Symbols: utf8Locale()}
	}
	return s
}

// width is how wide a terminal is, 0 for what is none.
func width(w io.Writer) int {
	file, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" || !term.IsTerminal(int(file.Fd())) {
		return 0
	}
	columns, _, err := term.GetSize(int(file.Fd()))
	if err != nil || columns <= 0 {
		return 80
	}
	return columns
}

// utf8Locale is how programs on a terminal are told that it shows more than ASCII.
func utf8Locale() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if value := os.Getenv(name); value != "" {
			value = strings.ToLower(value)
			return strings.Contains(value, "utf-8") || strings.Contains(value, "utf8")
		}
	}
	return false
}

// About names what is checked.
func About(ctx context.Context, s *preflight.Subject, tool string) Subject {
	about := Subject{Release: s.Requirements.Release, Namespace: s.Requirements.Namespace,
		Chart: s.Requirements.Chart.Name + " " + s.Requirements.Chart.Version, Tool: tool, Docs: Docs}
	// It was asked before the chart was rendered, so it is known.
	if version, err := s.Cluster.Version(ctx); err == nil {
		about.Kubernetes = version.GitVersion
	}
	return about
}

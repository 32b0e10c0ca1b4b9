package report

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// Screen shows what ran to people: results on one stream, in one piece each, and what is running on the other.
type Screen struct {
	results, progress io.Writer
	terminal          bool
	width             func() int
	total             int
	began             time.Time

	mu   sync.Mutex
	busy map[string]activity
	done int
	// shown says that the progress line is on the terminal, and lineAt when one was last written elsewhere.
	shown  bool
	lineAt time.Time
}

type activity struct {
	what  string
	since time.Time
}

// NewScreen writes results to one stream and progress to the other, of a number of tests.
func NewScreen(results io.Writer, progress *os.File, total int) *Screen {
	s := &Screen{results: results, progress: progress, total: total, began: time.Now(), lineAt: time.Now(), busy: map[string]activity{}}
	descriptor := int(progress.Fd())
	s.terminal = term.IsTerminal(descriptor) && os.Getenv("TERM") != "dumb"
	s.width = func() int {
		width, _, err := term.GetSize(descriptor)
		if err != nil {
			return 80
		}
		return width
	}
	return s
}

// Busy says what a worker does now; nothing is the empty text.
func (s *Screen) Busy(worker, what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if what == "" {
		delete(s.busy, worker)
	} else {
		s.busy[worker] = activity{what, time.Now()}
		if !s.terminal {
			fmt.Fprintf(s.progress, "%s %s: %s\n", s.elapsed(), worker, what)
		}
	}
	s.draw()
}

// Say writes a line.
func (s *Screen) Say(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	fmt.Fprintln(s.progress, line)
	s.draw()
}

// Ended writes the result of a test: a line, and all of the output if text is not empty.
func (s *Screen) Ended(result Result, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	s.done++
	if text != "" {
		fmt.Fprintf(s.results, "=== %s\n%s\n", result.Name, strings.TrimRight(text, "\n"))
	}
	line := fmt.Sprintf("%-4s %s (%.0f s, %s)", verdict(result), result.Name, result.Took.Seconds(), cmp.Or(result.Worker, "no testbed"))
	if result.Reason != "" {
		line += ": " + result.Reason
	}
	fmt.Fprintln(s.results, line)
	s.draw()
}

// Tick shows that time goes by: each second on a terminal, and each minute elsewhere.
func (s *Screen) Tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.terminal {
		s.draw()
	} else if time.Since(s.lineAt) >= time.Minute {
		s.lineAt = time.Now()
		fmt.Fprintln(s.progress, s.line())
	}
}

// End removes the progress line.
func (s *Screen) End() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
}

func (s *Screen) clear() {
	if s.shown {
		fmt.Fprint(s.progress, "\r\x1b[K")
		s.shown = false
	}
}

func (s *Screen) draw() {
	if !s.terminal {
		return
	}
	line := []rune(s.line())
	fmt.Fprintf(s.progress, "\r\x1b[K%s", string(line[:min(len(line), max(1, s.width()-1))]))
	s.shown = true
}

func (s *Screen) line() string {
	line := fmt.Sprintf("%s %d/%d done", s.elapsed(), s.done, s.total)
	for _, worker := range slices.Sorted(maps.Keys(s.busy)) {
		a := s.busy[worker]
		line += fmt.Sprintf(" | %s: %s %.0fs", worker, a.what, time.Since(a.since).Seconds())
	}
	return line
}

func (s *Screen) elapsed() string {
	elapsed := time.Since(s.began)
	return fmt.Sprintf("[%2d:%02d]", int(elapsed.Minutes()), int(elapsed.Seconds())%60)
}

package report

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/neutree-ai/packaging/internal/preflight"
)

const (
	frame = 120 * time.Millisecond
	// quiet is how often a log is told that something still runs.
	quiet = 15 * time.Second
)

// Progress tells what runs: on a terminal in one line that is written over, elsewhere now and then.
type Progress struct {
	to       io.Writer
	terminal bool
	width    int

	mu      sync.Mutex
	start   time.Time
	running []string
	done    int
	all     int
	shown   bool
	ticks   int
	stop    chan struct{}
	stopped chan struct{}
}

// NewProgress writes to the person's side of things, which a width of 0 says is no terminal.
func NewProgress(to io.Writer, width int) *Progress {
	return &Progress{to: to, terminal: width > 0, width: width, stop: make(chan struct{}), stopped: make(chan struct{})}
}

// Writer is for what else goes to the same terminal: it takes the line away first.
func (p *Progress) Writer(to io.Writer) io.Writer { return &cleared{p, to} }

type cleared struct {
	progress *Progress
	to       io.Writer
}

func (c *cleared) Write(b []byte) (int, error) {
	c.progress.mu.Lock()
	defer c.progress.mu.Unlock()
	c.progress.clear()
	return c.to.Write(b)
}

// Plan starts the clock.
func (p *Progress) Plan(checks []preflight.Check) {
	p.start, p.all = time.Now(), len(checks)
	every := quiet
	if p.terminal {
		every = frame
	}
	go func() {
		defer close(p.stopped)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-p.stop:
				return
			case <-ticker.C:
				p.draw()
			}
		}
	}()
}

// Running notes what runs.
func (p *Progress) Running(ids []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = ids
}

// Result counts.
func (p *Progress) Result(preflight.Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
}

// End takes the line away for good.
func (p *Progress) End(preflight.Summary) {
	close(p.stop)
	<-p.stopped
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}

func (p *Progress) draw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.running) == 0 {
		return
	}
	took := time.Since(p.start).Round(time.Second)
	line := fmt.Sprintf("%d of %d, %s: %s", p.done, p.all, took, strings.Join(p.running, " "))
	if !p.terminal {
		fmt.Fprintf(p.to, "still running: %s\n", line)
		return
	}
	p.clear()
	p.ticks++
	line = string(`|/-\`[p.ticks%4]) + " " + line
	if len(line) >= p.width {
		line = line[:max(p.width-1, 0)]
	}
	fmt.Fprint(p.to, line)
	p.shown = true
}

func (p *Progress) clear() {
	if p.shown {
		fmt.Fprint(p.to, "\r\x1b[K")
		p.shown = false
	}
}

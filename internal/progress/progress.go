// Package progress tells a person at a terminal what a command is doing, in place of a log for machines.
package progress

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/neutree-ai/packaging/internal/plain"
)

// New returns a logger that writes one plain line to w for each message.
func New(w io.Writer) *slog.Logger { return slog.New(&handler{out: &output{w: w}}) }

type output struct {
	mu sync.Mutex
	w  io.Writer
}

type handler struct {
	out   *output
	attrs []slog.Attr
}

// Enabled leaves out what is for finding mistakes only.
func (h *handler) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// Handle writes the message, and its attributes in parentheses.
func (h *handler) Handle(_ context.Context, record slog.Record) error {
	var details []string
	add := func(a slog.Attr) bool {
		if value := a.Value.String(); value != "" {
			details = append(details, a.Key+" "+value)
		}
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	record.Attrs(add)
	line := record.Message
	if len(details) > 0 {
		line += " (" + strings.Join(details, ", ") + ")"
	}
	switch {
	case record.Level >= slog.LevelError:
		line = "Error: " + line
	case record.Level >= slog.LevelWarn:
		line = "Warning: " + line
	}
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	_, err := fmt.Fprintln(h.out.w, plain.Text(line))
	return err
}

// WithAttrs adds attributes to every message.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{out: h.out, attrs: append(slices.Clone(h.attrs), attrs...)}
}

// WithGroup is of no use to a reader: names stand alone.
func (h *handler) WithGroup(string) slog.Handler { return h }

// Package progress shows log records to a person who waits: one line each, with the seconds since the start.
package progress

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Handler writes records as lines.
type Handler struct {
	mu         *sync.Mutex
	out        io.Writer
	start      time.Time
	attributes []slog.Attr
}

var _ slog.Handler = (*Handler)(nil)

// NewHandler counts the time from now.
func NewHandler(out io.Writer) *Handler {
	return &Handler{mu: &sync.Mutex{}, out: out, start: time.Now()}
}

// Enabled shows everything but what is meant for debugging.
func (h *Handler) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// Handle writes one line.
func (h *Handler) Handle(_ context.Context, record slog.Record) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%6.1fs  ", record.Time.Sub(h.start).Seconds())
	if record.Level >= slog.LevelWarn {
		b.WriteString(strings.ToLower(record.Level.String()) + ": ")
	}
	b.WriteString(record.Message)
	for _, attribute := range h.attributes {
		fmt.Fprintf(&b, " %s=%v", attribute.Key, attribute.Value)
	}
	record.Attrs(func(attribute slog.Attr) bool {
		fmt.Fprintf(&b, " %s=%v", attribute.Key, attribute.Value)
		return true
	})
	b.WriteByte('\n')
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.out, b.String())
	return err
}

// WithAttrs shows the attributes with each record.
func (h *Handler) WithAttrs(attributes []slog.Attr) slog.Handler {
	with := *h
	with.attributes = append(append([]slog.Attr{}, h.attributes...), attributes...)
	return &with
}

// WithGroup leaves groups out: nobody who waits reads them.
func (h *Handler) WithGroup(string) slog.Handler { return h }

package hook

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"

	"github.com/neutree-ai/packaging/internal/plain"
)

// plainHandler writes a log for people: one short line an event, without its time. Helm prints what its hooks logged
// as it is, and Helm 4 puts all of it on one line.
type plainHandler struct {
	mu         *sync.Mutex
	w          io.Writer
	attributes []string
	group      string
}

func newPlainHandler(w io.Writer) *plainHandler { return &plainHandler{mu: &sync.Mutex{}, w: w} }

// Enabled leaves out what only a developer wants to know.
func (h *plainHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}

// Handle writes one event.
func (h *plainHandler) Handle(_ context.Context, event slog.Record) error {
	line := event.Message
	switch {
	case event.Level >= slog.LevelError:
		line = "error: " + line
	case event.Level >= slog.LevelWarn:
		line = "warning: " + line
	}
	attributes := append([]string(nil), h.attributes...)
	event.Attrs(func(a slog.Attr) bool {
		attributes = append(attributes, h.format(a))
		return true
	})
	if len(attributes) > 0 {
		line += " (" + strings.Join(attributes, ", ") + ")"
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.w, plain.Text(strings.Join(strings.Fields(line), " "))+"\n")
	return err
}

// WithAttrs returns a handler that adds attributes to each event.
func (h *plainHandler) WithAttrs(attributes []slog.Attr) slog.Handler {
	with := *h
	with.attributes = append([]string(nil), h.attributes...)
	for _, a := range attributes {
		with.attributes = append(with.attributes, h.format(a))
	}
	return &with
}

// WithGroup returns a handler that names attributes after a group.
func (h *plainHandler) WithGroup(name string) slog.Handler {
	with := *h
	with.group += name + "."
	return &with
}

func (h *plainHandler) format(a slog.Attr) string {
	return h.group + a.Key + ": " + a.Value.Resolve().String()
}

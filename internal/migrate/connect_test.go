package migrate

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

func TestDialsAgainBeforeTheKernelDoes(t *testing.T) {
	here, there := net.Pipe()
	t.Cleanup(func() { _, _ = here.Close(), there.Close() })
	refused := errors.New("refused")
	var deaf int
	var answer error
	tries := 0
	dial := insistently(func(ctx context.Context, _, _ string) (net.Conn, error) {
		if tries++; tries <= deaf {
			deadline, _ := ctx.Deadline()
			// As net.Dialer says it, which may be before the context has ended.
			time.Sleep(time.Until(deadline) - time.Millisecond)
			return nil, &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}
		}
		return here, answer
	})
	for name, c := range map[string]struct {
		deaf   int
		answer error
		tries  int
	}{
		"heard at once":        {0, nil, 1},
		"unheard at first":     {2, nil, 3},
		"unheard for a second": {4, nil, 5},
		"refused":              {0, refused, 1},
	} {
		deaf, answer, tries = c.deaf, c.answer, 0
		conn, err := dial(t.Context(), "tcp", "db:5432")
		if !errors.Is(err, c.answer) || c.answer == nil && conn != here || tries != c.tries {
			t.Errorf("%s: %v after %d tries, want %v after %d", name, err, tries, c.answer, c.tries)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	deaf, tries = 100, 0
	if _, err := dial(ctx, "tcp", "db:5432"); !errors.Is(err, os.ErrDeadlineExceeded) || tries > 7 {
		t.Errorf("nobody hears: %v after %d tries", err, tries)
	}
}

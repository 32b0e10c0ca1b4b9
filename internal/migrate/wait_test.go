package migrate_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

// deadline is a context whose deadline passes when a test says so, and not before, however slow the machine is.
type deadline struct {
	context.Context
	once   sync.Once
	passed chan struct{}
}

func newDeadline(t *testing.T) *deadline {
	return &deadline{Context: t.Context(), passed: make(chan struct{})}
}

func (d *deadline) pass()                 { d.once.Do(func() { close(d.passed) }) }
func (d *deadline) Done() <-chan struct{} { return d.passed }
func (d *deadline) Err() error {
	select {
	case <-d.passed:
		return context.DeadlineExceeded
	default:
		return d.Context.Err()
	}
}

// waitUntilSaid starts a wait, lets its deadline pass once the log holds the words, and returns how it ended.
func waitUntilSaid(t *testing.T, words string, wait func(context.Context, *slog.Logger) error) error {
	t.Helper()
	ctx, said, done := newDeadline(t), &messages{}, make(chan error, 1)
	go func() { done <- wait(ctx, slog.New(slog.NewTextHandler(said, nil))) }()
	eventually(t, "the wait says "+words, func() bool {
		if len(done) > 0 {
			t.Fatalf("the wait is over before it said %q: %v\n%s", words, <-done, said)
		}
		return strings.Contains(said.String(), words)
	})
	ctx.pass()
	return receive(t, done)
}

// receive takes the outcome of something that must end soon.
func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case got := <-from:
		return got
	case <-time.After(30 * time.Second):
		t.Fatal("it does not end")
		panic("unreachable")
	}
}

// Services that start must not meet the schema of another release: every recorded set but their own is another one.
func TestWaitAcceptsNoOtherSet(t *testing.T) {
	url := pgtest.Start(t)
	m, _ := migrator(url)
	for _, older := range []string{"older", "new", "newer-1", "NEWER"} {
		folders := []hook.Migration{named(folder(t, "gateway", nil), "gateway-"+older)}
		if _, err := m.Apply(t.Context(), older, folders); err != nil {
			t.Fatal(err)
		}
	}
	const missing = "the database answers, but the set is not recorded yet"
	for name, wait := range map[string]func(context.Context, *slog.Logger) error{
		"set": func(ctx context.Context, log *slog.Logger) error { return migrate.WaitForSet(ctx, log, url, "newer") },
		"outcome": func(ctx context.Context, log *slog.Logger) error {
			return migrate.WaitForOutcome(ctx, log, url, "newer", time.Minute)
		},
		"set of a source": func(ctx context.Context, log *slog.Logger) error {
			return migrate.WaitForSet(ctx, log, url, "gateway-newer")
		},
		"source": func(ctx context.Context, log *slog.Logger) error {
			return migrate.WaitForSource(ctx, log, url, "control-plane")
		},
	} {
		t.Run(name, func(t *testing.T) {
			wantFailure(t, waitUntilSaid(t, missing, wait), hook.Deadline, "gave up waiting for", missing)
		})
	}
	if err := migrate.WaitForSource(t.Context(), slog.New(slog.DiscardHandler), url, "gateway"); err != nil {
		t.Errorf("a set of the source is recorded: %v", err)
	}
	seeded, err := migrate.Seeded(t.Context(), url, "digest")
	if err != nil || seeded {
		t.Fatalf("seeded %v, %v", seeded, err)
	}
	if err := migrate.RecordSeeded(t.Context(), url, "older"); err != nil {
		t.Fatal(err)
	}
	if seeded, err := migrate.Seeded(t.Context(), url, "digest"); err != nil || seeded {
		t.Errorf("other seeds were recorded, and these count as done: %v, %v", seeded, err)
	}
}

func TestWaitSaysWhatWasMissing(t *testing.T) {
	for name, c := range map[string]struct{ url, says string }{
		"nobody listens": {"postgresql://nap:hunter2@127.0.0.1:1/nap",
			"the database does not answer: connection refused"},
		"not recorded": {pgtest.Start(t), "the set is not recorded yet"},
	} {
		t.Run(name, func(t *testing.T) {
			err := waitUntilSaid(t, c.says, func(ctx context.Context, log *slog.Logger) error {
				return migrate.WaitForSet(ctx, log, c.url, "0123456789abcdef")
			})
			wantFailure(t, err, hook.Deadline, "gave up waiting for migration set 0123456789ab…", c.says)
			if strings.Contains(err.Error(), "hunter2") {
				t.Error(err)
			}
		})
	}
}

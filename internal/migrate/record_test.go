package migrate_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

func TestWaitEndsWhenTheSetIsRecorded(t *testing.T) {
	url := pgtest.Start(t)
	said := &messages{}
	log := slog.New(slog.NewTextHandler(said, nil))
	done := make(chan error)
	// A session that cannot write shows that the wait only reads.
	go func() {
		done <- migrate.WaitForSet(t.Context(), log, url+"&options=-c%20default_transaction_read_only%3Don", testSet)
	}()
	eventually(t, "the wait says what it waits for", func() bool {
		return strings.Contains(said.String(), "the database answers, but the set is not recorded yet")
	})
	apply(t, url, folder(t, "gateway", nil))
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestWaitSaysWhatWasMissing(t *testing.T) {
	for name, c := range map[string]struct{ url, says string }{
		"nobody listens": {"postgresql://nap:hunter2@127.0.0.1:1/nap", "the database does not answer: connection refused"},
		"not recorded":   {pgtest.Start(t), "the set is not recorded yet"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			err := migrate.WaitForSet(ctx, slog.New(slog.DiscardHandler), c.url, "0123456789abcdef")
			wantFailure(t, err, hook.Deadline, "gave up waiting for migration set 0123456789ab…", c.says)
			if strings.Contains(err.Error(), "hunter2") {
				t.Error(err)
			}
		})
	}
}

func TestSeedsAreRecordedOnce(t *testing.T) {
	url := pgtest.Start(t)
	seeded := func() bool {
		t.Helper()
		got, err := migrate.Seeded(t.Context(), url, "digest")
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if seeded() {
		t.Error("seeded before there is a record")
	}
	apply(t, url, folder(t, "gateway", nil))
	for range 2 {
		if err := migrate.RecordSeeded(t.Context(), url, "digest"); err != nil {
			t.Fatal(err)
		}
	}
	if !seeded() {
		t.Error("not seeded after it was recorded")
	}
}

func TestReason(t *testing.T) {
	for want, err := range map[string]error{
		"the name nap-pg-rw is not known":                     fmt.Errorf("connect: %w", &net.DNSError{Name: "nap-pg-rw", IsNotFound: true}),
		"connection refused":                                  fmt.Errorf("connect: %w", syscall.ECONNREFUSED),
		"no answer in time":                                   fmt.Errorf("connect: %w", context.DeadlineExceeded),
		"the database system is starting up (SQLSTATE 57P03)": &pgconn.PgError{Code: "57P03", Message: "the database system is starting up"},
		"two lines": errors.New("two\n\tlines"),
	} {
		if got := migrate.Reason(err); got != want {
			t.Errorf("Reason(%v) = %q, want %q", err, got, want)
		}
	}
}

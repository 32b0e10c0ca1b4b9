package migrate_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

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
	if err := receive(t, done); err != nil {
		t.Error(err)
	}
}

// A server that loses its node closes no connection: the wait must try another one.
func TestWaitLeavesASilentServer(t *testing.T) {
	url := pgtest.Start(t)
	proxied, silence := proxy(t, url)
	said := &messages{}
	done := make(chan error)
	go func() {
		done <- migrate.WaitForSet(t.Context(), slog.New(slog.NewTextHandler(said, nil)), proxied, testSet)
	}()
	eventually(t, "the wait has a session", func() bool {
		return strings.Contains(said.String(), "the database answers, but the set is not recorded yet")
	})
	silence()
	apply(t, url, folder(t, "gateway", nil))
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Errorf("the wait clings to its session:\n%s", said)
	}
}

// proxy gives a database another address. After silence, the connections that it has at that time say
// nothing more, and do not end; later ones work.
func proxy(t *testing.T, databaseURL string) (at string, silence func()) {
	t.Helper()
	config, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	network, address := pgconn.NetworkAddress(config.Host, config.Port)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	var generation atomic.Int32
	pass := func(to, from net.Conn, born int32) {
		buffer := make([]byte, 1<<12)
		for {
			n, err := from.Read(buffer)
			if err != nil {
				_ = to.Close()
				return
			}
			if generation.Load() == born {
				_, _ = to.Write(buffer[:n])
			}
		}
	}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial(network, address)
			if err != nil {
				_ = client.Close()
				continue
			}
			born := generation.Load()
			go pass(server, client, born)
			go pass(client, server, born)
		}
	}()
	return fmt.Sprintf("postgresql://nap@%s/%s?sslmode=disable", listener.Addr(), config.Database), func() { generation.Add(1) }
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

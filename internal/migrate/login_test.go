package migrate_test

import (
	"context"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

// wrongPassword is the address of a server that refuses the login, and the right one.
func wrongPassword(t *testing.T, role string) (wrong, right string) {
	t.Helper()
	right = pgtest.WithPassword(t, pgtest.Start(t), role, "the-right-one")
	u, err := url.Parse(right)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(role, "hunter2")
	if _, err := migrate.Compare(t.Context(), u.String(), nil); !migrate.Denied(err) {
		t.Fatalf("the login is not refused: %v", err)
	}
	return u.String(), right
}

// A server that answers and refuses the login is no server that does not answer: waiting helps against the latter alone.
func TestARefusedLoginIsToldFromSilence(t *testing.T) {
	wrong, _ := wrongPassword(t, "rotated")
	for name, wait := range map[string]func(context.Context, *slog.Logger) error{
		"set": func(ctx context.Context, log *slog.Logger) error { return migrate.WaitForSet(ctx, log, wrong, "s") },
		"source": func(ctx context.Context, log *slog.Logger) error {
			return migrate.WaitForSource(ctx, log, wrong, "gateway")
		},
		"outcome": func(ctx context.Context, log *slog.Logger) error {
			return migrate.WaitForOutcome(ctx, log, wrong, "s", time.Minute)
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
			defer cancel()
			said := &messages{}
			err := wait(ctx, slog.New(slog.NewTextHandler(said, nil)))
			wantFailure(t, err, hook.Refused, `the database answers, and refuses the login of role "rotated"`,
				"(SQLSTATE 28P01)", "the Secret with the password and the database's role do not agree", "[database.login]")
			if ids := finding.Of(err).IDs(); len(ids) != 1 || ids[0] != "database.login" {
				t.Errorf("the findings are %v", ids)
			}
			if text := said.String() + err.Error(); strings.Contains(text, "does not answer") || strings.Contains(text,
				"hunter2") {
				t.Errorf("it says that the database does not answer, or shows the password: %v\n%s", err, said)
			}
			if !strings.Contains(said.String(), "the database refuses the login: password authentication failed") {
				t.Errorf("while it waits it does not say so:\n%s", said)
			}
		})
	}
}

// A password that is just being changed is no reason to give up.
func TestARefusedLoginMayPass(t *testing.T) {
	wrong, right := wrongPassword(t, "changing")
	m, _ := migrator(right)
	if _, err := m.Apply(t.Context(), "s", []hook.Migration{folder(t, "gateway", nil)}); err != nil {
		t.Fatal(err)
	}
	said, done := &messages{}, make(chan error, 1)
	go func() { done <- migrate.WaitForSet(t.Context(), slog.New(slog.NewTextHandler(said, nil)), wrong, "s") }()
	eventually(t, "the wait meets the refusal", func() bool {
		return strings.Contains(said.String(),
			"refuses the login")
	})
	pgtest.Exec(t, right, "ALTER ROLE changing PASSWORD 'hunter2'")
	if err := receive(t, done); err != nil {
		t.Error(err)
	}
}

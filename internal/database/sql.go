package database

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
)

// attempt bounds one try, so that a name that resolves to nothing can't use up the whole wait.
const attempt = 5 * time.Second

// WaitForSQL waits until the primary of the Cluster answers. The Cluster's own Ready condition won't
// do: it also holds while the Cluster hibernates.
func (c *Cluster) WaitForSQL(ctx context.Context, databaseURL string) error {
	logins := migrate.NewLogins(ctx)
	return waitForSQL(ctx, c.log, databaseURL, func(ctx context.Context, err error) (string, error) {
		if refused := logins.Failed(err); refused != nil || migrate.Denied(err) {
			return migrate.NoSession(err), refused
		}
		missing := migrate.Reason(err)
		if trouble := c.Trouble(ctx); trouble != "" {
			missing = trouble + "; connecting: " + missing
		}
		return missing, nil
	})
}

// WaitForExternalSQL waits until a database that is not ours answers. A password, a database or a
// certificate that is wrong there won't recover by itself.
func WaitForExternalSQL(ctx context.Context, log *slog.Logger, databaseURL string) error {
	return waitForSQL(ctx, log, databaseURL, func(_ context.Context, err error) (string, error) {
		if cause, fix := refusal(err); cause != "" {
			return "", hook.Refuse(external(fmt.Sprintf("the external database refuses the connection: %s", cause), fix))
		}
		return migrate.Reason(err), nil
	})
}

var errStandby = errors.New("it answers as a standby: there is no primary yet")

func waitForSQL(ctx context.Context, log *slog.Logger, databaseURL string, explain func(context.Context, error) (string, error)) error {
	config, err := migrate.Config(databaseURL)
	if err != nil {
		return err
	}
	return hook.Poll(ctx, log, "PostgreSQL to answer", func(ctx context.Context) (bool, string, error) {
		err := askPrimary(ctx, config)
		if err == nil {
			return true, "", nil
		}
		missing, err := explain(ctx, err)
		return false, missing, err
	})
}

func askPrimary(ctx context.Context, config *pgx.ConnConfig) error {
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer migrate.Close(ctx, conn)
	var standby bool
	if err := conn.QueryRow(ctx, "SELECT pg_is_in_recovery()").Scan(&standby); err != nil {
		return err
	}
	if standby {
		return errStandby
	}
	return nil
}

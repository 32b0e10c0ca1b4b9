package database

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
)

// attempt bounds one try, so that a name that resolves to nothing can't use up the whole wait.
const attempt = 5 * time.Second

// WaitForSQL waits until the primary of the Cluster answers. The Cluster's own Ready condition won't
// do: it also holds while the Cluster hibernates.
func (c *Cluster) WaitForSQL(ctx context.Context, databaseURL string) error {
	return c.waitForSQL(ctx, databaseURL, func(context.Context) error { return nil })
}

// operatorTime is how long an operator that is not part of the release may take to look at a new Cluster. It takes a
// second, or, after the loss of the one that was elected, some twenty.
const operatorTime = 50 * time.Second

// WaitForSQLElsewhere waits as WaitForSQL does, where the operator is not part of the release. It ends once no operator has
// looked at the Cluster for as long as patience says (0: 50 seconds): then none will.
func (c *Cluster) WaitForSQLElsewhere(ctx context.Context, databaseURL string, patience time.Duration) error {
	patience = cmp.Or(patience, operatorTime)
	start := time.Now()
	return c.waitForSQL(ctx, databaseURL, func(ctx context.Context) error {
		if time.Since(start) < patience {
			return nil
		}
		live, err := c.get(ctx)
		if err != nil || live == nil {
			return nil
		}
		if phase, _, _ := unstructured.NestedString(live.Object, "status", "phase"); phase != "" {
			return nil
		}
		return hook.Refuse(finding.Finding{
			ID: finding.CNPGOperator, Severity: finding.Error, Value: "cloudnative-pg.enabled",
			Object: fmt.Sprintf("Cluster %s/%s", c.namespace, c.name),
			Found:  fmt.Sprintf("no CloudNativePG operator has looked at Cluster %s within %s", c.name, patience),
			Why:    "none is running, or it looks after other namespaces only, so the database is never created",
			Fix: fmt.Sprintf("add namespace %s to those that the operator watches (WATCH_NAMESPACE; of this chart's "+
				"operator: cloudnative-pg.config.clusterWide=true in its own release), or install one; helm neutree "+
				"preflight names the operators that there are. Then run helm upgrade", c.namespace),
		})
	})
}

// waitForSQL waits until the primary answers. hopeless is asked after each attempt that failed, and its error ends the
// wait.
func (c *Cluster) waitForSQL(ctx context.Context, databaseURL string, hopeless func(context.Context) error) error {
	logins := migrate.NewLogins(ctx)
	return waitForSQL(ctx, c.log, databaseURL, func(ctx context.Context, err error) (string, error) {
		if err := hopeless(ctx); err != nil {
			return "", err
		}
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

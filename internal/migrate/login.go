package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

// loginPatience is how long a server may refuse a login that is just being changed: an operator writes a new password
// into the role some seconds after it is in the Secret.
const loginPatience = time.Minute

// Denied says whether a server answered and refused the login: the role, its password, or its right to log in.
func Denied(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "28P01" || pg.Code == "28000")
}

// NoSession says in a few words why there is no session, and whether the server answered at all.
func NoSession(err error) string {
	var pg *pgconn.PgError
	switch {
	case Denied(err):
		return "the database refuses the login: " + Reason(err)
	case errors.As(err, &pg):
		return "the database answers with an error: " + Reason(err)
	}
	return "the database does not answer: " + Reason(err)
}

// Logins watches a wait for a login that the server keeps refusing: that does not pass by itself, while a server that
// does not answer may come up at any time.
type Logins struct {
	patience time.Duration
	since    time.Time
}

// NewLogins is for a wait that ends with ctx.
func NewLogins(ctx context.Context) *Logins {
	l := &Logins{patience: loginPatience}
	if deadline, bounded := ctx.Deadline(); bounded {
		l.patience = min(l.patience, time.Until(deadline)/2)
	}
	return l
}

// Failed takes note of an attempt that failed. It returns an error, with the exit code Refused, once logins have been
// refused for too long.
func (l *Logins) Failed(err error) error {
	switch {
	case !Denied(err):
		l.since = time.Time{}
		return nil
	case l.since.IsZero():
		l.since = time.Now()
	}
	if time.Since(l.since) < l.patience {
		return nil
	}
	role := "the role"
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) && connect.Config != nil {
		role = fmt.Sprintf("role %q", connect.Config.User)
	}
	return hook.Refuse(finding.Finding{
		ID: finding.DatabaseLogin, Severity: finding.Error, Value: "global.database",
		Found: fmt.Sprintf("the database answers, and refuses the login of %s (%s)", role, Reason(err)),
		Why:   "the Secret with the password and the database's role do not agree",
		Fix: "write the role's password into the Secret that also contains the role's name, or set the role's password " +
			"to the Secret's; then run helm upgrade, which restarts the services that use it",
	})
}

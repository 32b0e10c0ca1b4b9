package migrate

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
)

// fillTime bounds the first REFRESH of all materialized views.
const fillTime = 2 * time.Minute

// fillViews fills the materialized views that migrations have made WITH NO DATA: a service that reads one before its
// first REFRESH gets an error, and so do its users. The services refresh them later, so what fails here is a warning.
func fillViews(ctx context.Context, log *slog.Logger, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(ctx, fillTime)
	defer cancel()
	rows, err := conn.Query(ctx, `SELECT format('%I.%I', schemaname, matviewname) FROM pg_matviews
		WHERE NOT ispopulated AND pg_has_role(matviewowner, 'USAGE') ORDER BY 1`)
	if err != nil {
		log.Warn("the materialized views could not be looked for", "cause", Reason(err))
		return
	}
	views, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		log.Warn("the materialized views could not be looked for", "cause", Reason(err))
		return
	}
	for len(views) > 0 {
		var failed []string
		var cause error
		for _, view := range views {
			if _, err := conn.Exec(ctx, "REFRESH MATERIALIZED VIEW "+view); err != nil {
				failed, cause = append(failed, view), err
				continue
			}
			log.Info("materialized view filled", "view", view)
		}
		if len(failed) == len(views) {
			log.Warn("materialized views have no data yet: a page that reads one fails until the scheduler refreshes it",
				"views", failed, "cause", Reason(cause))
			return
		}
		// One that reads another comes after it.
		views = failed
	}
}

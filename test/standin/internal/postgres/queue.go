package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
)

// queueLock keeps two services from creating the job queue's schema at the same time.
const queueLock = 7_210_441

const queueSchema = `
CREATE SCHEMA IF NOT EXISTS pgboss;
CREATE TABLE IF NOT EXISTS pgboss.version (version int PRIMARY KEY, maintained_on timestamptz);
CREATE TABLE IF NOT EXISTS pgboss.queue (name text PRIMARY KEY, created_on timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS pgboss.job (
	id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	name text NOT NULL REFERENCES pgboss.queue (name),
	state text NOT NULL DEFAULT 'created',
	singleton_key text,
	heartbeat_on timestamptz,
	created_on timestamptz NOT NULL DEFAULT now()
);
INSERT INTO pgboss.version (version) SELECT 1 WHERE NOT EXISTS (SELECT FROM pgboss.version);
`

// StartQueue makes the job queue's schema if it is missing, and one queue in it. Control plane and
// scheduler both do, in either order.
func StartQueue(ctx context.Context, pool *pgxpool.Pool, queue string) error {
	tx, err := pool.Begin(ctx)
	if err != nil {
		return fmt.Errorf("start the job queue: %w", err)
	}
	defer tx.Rollback(ctx) //nolint:errcheck // After a commit there is nothing to roll back.
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, queueLock); err != nil {
		return fmt.Errorf("lock the job queue: %w", err)
	}
	if _, err := tx.Exec(ctx, queueSchema); err != nil {
		return fmt.Errorf("create the job queue's schema: %w", err)
	}
	if _, err := tx.Exec(ctx, `INSERT INTO pgboss.queue (name) VALUES ($1) ON CONFLICT DO NOTHING`, queue); err != nil {
		return fmt.Errorf("create queue %s: %w", queue, err)
	}
	return tx.Commit(ctx)
}

package migrate

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// UnknownWorkspaces are those of ids that the database has no workspace for, sorted. A database without workspaces'
// table says nothing about any.
func UnknownWorkspaces(ctx context.Context, conn *pgx.Conn, ids []string) ([]string, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	var there bool
	if err := conn.QueryRow(ctx, "SELECT to_regclass('public.workspaces') IS NOT NULL").Scan(&there); err != nil || !there {
		return nil, err
	}
	rows, err := conn.Query(ctx, "SELECT id::text FROM unnest($1::text[]) AS cluster(id)"+
		" WHERE NOT EXISTS (SELECT FROM public.workspaces w WHERE w.id::text = cluster.id)", ids)
	if err != nil {
		return nil, fmt.Errorf("ask which workspaces the database knows: %w", err)
	}
	unknown, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("ask which workspaces the database knows: %w", err)
	}
	slices.Sort(unknown)
	return unknown, nil
}

package backup

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// triedCredentials is how many stored credentials a drill tries: one that was unreadable before the backup says nothing
// of the others.
const triedCredentials = 20

// decryptCredential decrypts one of the credentials that users have stored with the installation's key, in the
// throw-away database. The key is a parameter of its own, so that no error of the server can quote it. The problem is ""
// unless credentials are stored and none of those that were tried can be read.
func (b *Backup) decryptCredential(ctx context.Context, conn *pgx.Conn) (found, problem string, err error) {
	if b.CredentialKey == "" {
		return "not checked: the installation has no encryption key", "", nil
	}
	columns, err := encryptedColumns(ctx, conn)
	if err != nil {
		return "", "", err
	}
	tried := 0
	for _, column := range columns {
		values, err := someValues(ctx, conn, column)
		if err != nil {
			return "", "", err
		}
		for _, value := range values {
			tried++
			var readable bool
			err := conn.QueryRow(ctx, "SELECT length(pgp_sym_decrypt_bytea($1::bytea, $2::text)) >= 0",
				pgx.QueryExecModeExec, value, b.CredentialKey).Scan(&readable)
			if err == nil {
				return "one was decrypted", "", nil
			}
			if ctx.Err() != nil {
				return "", "", ctx.Err()
			}
		}
	}
	if tried == 0 {
		return "none are stored", "", nil
	}
	found = fmt.Sprintf("none of %d could be decrypted", tried)
	return found, found + ": the installation's CREDENTIAL_ENCRYPTION_KEY is not the key that they were stored with", nil
}

// encryptedColumns are the columns of the only table that the platform encrypts.
func encryptedColumns(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	rows, err := conn.Query(ctx, `SELECT format('%I', column_name) FROM information_schema.columns
 WHERE table_schema = 'public' AND table_name = 'user_credentials' AND data_type = 'bytea' ORDER BY ordinal_position`)
	if err != nil {
		return nil, fmt.Errorf("look for stored credentials: %w", err)
	}
	columns, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("look for stored credentials: %w", err)
	}
	return columns, nil
}

func someValues(ctx context.Context, conn *pgx.Conn, column string) ([][]byte, error) {
	query := strings.ReplaceAll("SELECT COLUMN FROM public.user_credentials WHERE COLUMN IS NOT NULL LIMIT $1", "COLUMN",
		column)
	rows, err := conn.Query(ctx, query, triedCredentials)
	if err != nil {
		return nil, fmt.Errorf("read stored credentials: %w", err)
	}
	values, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		return nil, fmt.Errorf("read stored credentials: %w", err)
	}
	return values, nil
}

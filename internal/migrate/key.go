package migrate

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/finding"
)

// KeyRecord recognises the key that credentials in a database are encrypted with, and does not tell it. It stands in the
// database itself: whoever can read it there, or in a dump, can try keys on those credentials just as well.
type KeyRecord struct {
	Salt   []byte `json:"salt,omitempty"`
	Digest []byte `json:"digest,omitempty"`
}

// IsZero says whether there is no record, for encoders.
func (r KeyRecord) IsZero() bool { return !r.Known() }

// Known tells whether the database has such a record.
func (r KeyRecord) Known() bool { return len(r.Digest) > 0 }

// Matches tells whether key is the one.
func (r KeyRecord) Matches(key string) bool { return hmac.Equal(r.Digest, digestOfKey(key, r.Salt)) }

func digestOfKey(key string, salt []byte) []byte {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(salt)
	return mac.Sum(nil)
}

// RecordKey notes that credentials in the database at databaseURL are encrypted with key from now on.
func RecordKey(ctx context.Context, databaseURL, key string) error {
	conn, err := Connect(ctx, databaseURL)
	if err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	defer Close(ctx, conn)
	if err := CreateRecords(ctx, conn); err != nil {
		return err
	}
	return MoveKey(ctx, conn, key)
}

// CreateRecords creates the tables of our own where they are missing.
func CreateRecords(ctx context.Context, conn *pgx.Conn) error {
	if err := createOnce(ctx, conn, records); err != nil {
		return fmt.Errorf("create the schema neutree: %w", err)
	}
	return nil
}

// MoveKey notes that credentials are encrypted with key, also within a transaction of conn, whose tables are there.
func MoveKey(ctx context.Context, conn *pgx.Conn, key string) error {
	return putKey(ctx, conn, key, "UPDATE SET salt = excluded.salt, digest = excluded.digest")
}

// OtherKey is the finding for a key in a Secret that is not the database's.
func OtherKey(secret, key string) finding.Finding {
	return finding.Finding{
		ID: finding.UpgradeEncryptionKey, Severity: finding.Error, Value: "global.secrets.existingSecret",
		Found: fmt.Sprintf("%s holds another %s than the one that the database was set up with", secret, key),
		Why:   "credentials which users have stored could not be read any more",
		Fix: "put the old one back; after a rotation that did not end, the Secret whose name ends in " +
			"-credential-key-rotation has it; to change the key, then run helm neutree secrets rotate credential-key; or, if " +
			"the loss is meant, --set global.upgrade.allowSecretChanges=true",
	}
}

// putKey makes the record, whose table is there.
func putKey(ctx context.Context, conn *pgx.Conn, key, conflict string) error {
	salt := make([]byte, 16)
	if _, err := rand.Read(salt); err != nil {
		return fmt.Errorf("make a salt: %w", err)
	}
	_, err := conn.Exec(ctx, "INSERT INTO neutree.encryption_key (salt, digest) VALUES ($1, $2) ON CONFLICT (one) DO "+conflict, salt, digestOfKey(key, salt))
	if err != nil {
		return fmt.Errorf("record the encryption key's digest: %w", err)
	}
	return nil
}

// Key reads the record of the key. It can be asked within a transaction, also where there is no record yet.
func Key(ctx context.Context, conn *pgx.Conn) (KeyRecord, error) {
	var exists bool
	err := conn.QueryRow(ctx, "SELECT to_regclass('neutree.encryption_key') IS NOT NULL").Scan(&exists)
	if err != nil {
		return KeyRecord{}, fmt.Errorf("look for the encryption key's digest: %w", err)
	}
	if !exists {
		return KeyRecord{}, nil
	}
	return readKey(ctx, conn)
}

// readKey reads the record, if there is one.
func readKey(ctx context.Context, conn *pgx.Conn) (KeyRecord, error) {
	var r KeyRecord
	err := conn.QueryRow(ctx, "SELECT salt, digest FROM neutree.encryption_key").Scan(&r.Salt, &r.Digest)
	if errors.Is(err, pgx.ErrNoRows) || absent(err) {
		return KeyRecord{}, nil
	}
	if err != nil {
		return KeyRecord{}, fmt.Errorf("read the encryption key's digest: %w", err)
	}
	return r, nil
}

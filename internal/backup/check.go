package backup

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
)

// readBack reads a whole dump and returns how many tables it holds.
func (b *Backup) readBack(ctx context.Context, path string) (int, error) {
	tables, err := b.contents(ctx, path)
	if err != nil {
		return 0, err
	}
	// The list alone says nothing of the data behind it.
	if err := run(b.command(ctx, "pg_restore", "--file=/dev/null", path), nil); err != nil {
		return 0, err
	}
	return tables, nil
}

// contents lists a dump and returns how many tables it holds. None is an error: the platform always has some.
func (b *Backup) contents(ctx context.Context, path string) (int, error) {
	var list bytes.Buffer
	if err := run(b.command(ctx, "pg_restore", "--list", path), &list); err != nil {
		return 0, err
	}
	tables := 0
	for line := range strings.Lines(list.String()) {
		if !strings.HasPrefix(line, ";") && strings.Contains(line, " TABLE DATA ") {
			tables++
		}
	}
	if tables == 0 {
		return 0, hook.Refusef(finding.BackupWrongDatabase, "is DATABASE_URL the platform's database?",
			"the dump holds no table")
	}
	return tables, nil
}

// check proves that the files of a backup are those that were made, and that pg_restore reads the dump.
func (b *Backup) check(ctx context.Context, m Metadata) error {
	if _, ok := m.Files[databaseFile]; !ok {
		return damaged(m.Name, "it names no dump of the database")
	}
	for _, name := range slices.Sorted(maps.Keys(m.Files)) {
		if name != databaseFile && name != afsFile {
			return damaged(m.Name, "it names a file %q", name)
		}
		want := m.Files[name]
		got, err := checksum(ctx, filepath.Join(b.Spec.Dir, m.Name, name))
		if err != nil {
			return damaged(m.Name, "%v", err)
		}
		if got != want {
			return damaged(m.Name, "%s has %s and the checksum %.12s…, not %s and %.12s… as when it was made",
				name, Size(got.Bytes), got.SHA256, Size(want.Bytes), want.SHA256)
		}
	}
	if _, err := b.contents(ctx, filepath.Join(b.Spec.Dir, m.Name, databaseFile)); err != nil {
		return fmt.Errorf("backup %s: %w", m.Name, err)
	}
	return nil
}

func checksum(ctx context.Context, path string) (File, error) {
	f, err := os.Open(path)
	if err != nil {
		return File{}, err
	}
	defer f.Close() //nolint:errcheck // It was only read.
	hash := sha256.New()
	n, err := io.Copy(hash, readerWith(ctx, f))
	return File{Bytes: n, SHA256: hex.EncodeToString(hash.Sum(nil))}, err
}

// readerWith stops reading when ctx ends.
func readerWith(ctx context.Context, r io.Reader) io.Reader {
	return bufio.NewReaderSize(readerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return r.Read(p)
	}), 1<<20)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Check proves that the backup called name can be restored into the database by this release.
func (b *Backup) Check(ctx context.Context, name string, newer bool) (Metadata, error) {
	m, err := b.Read(name)
	if err != nil {
		return m, err
	}
	conn, err := migrate.Connect(ctx, b.DatabaseURL)
	if err != nil {
		return m, fmt.Errorf("connect to the database: %s", migrate.Reason(err))
	}
	defer migrate.Close(ctx, conn)
	if err := b.checkServer(ctx, conn, m); err != nil {
		return m, err
	}
	ahead, err := migrate.Ahead(m.Ledgers, b.Spec.Migrations)
	if err != nil {
		return m, err
	}
	if len(ahead) > 0 && !newer {
		return m, hook.Refusef(finding.BackupNewer,
			fmt.Sprintf("install that release first (the backup was made under chart %s), or restore with "+
				"--allow-newer-schema", m.Chart),
			"backup %s is of a newer release than the one that is installed: it holds the migrations %s, which the images do not have",
			m.Name, strings.Join(ahead, ", "))
	}
	if err := b.check(ctx, m); err != nil {
		return m, err
	}
	return m, b.checkKey(ctx, m)
}

// checkKey refuses a backup whose credentials the installation could not read. Backups of version 0.1.0 do not say which
// key it was, but the table in their dump does.
func (b *Backup) checkKey(ctx context.Context, m Metadata) error {
	key := m.Key
	if !key.Known() {
		var err error
		if key, err = b.dumpedKey(ctx, filepath.Join(b.Spec.Dir, m.Name, databaseFile)); err != nil {
			return fmt.Errorf("backup %s: %w", m.Name, err)
		}
	}
	switch {
	case !key.Known() || b.CredentialKey == "" || key.Matches(b.CredentialKey):
		return nil
	case b.AllowOtherKey:
		b.Log.Warn("the backup's credentials are encrypted with another key than the installation's: they cannot be "+
			"read until that key is back", "backup", m.Name)
		return nil
	}
	where := "the installation's Secret"
	if ref := b.Spec.EncryptionKey; ref.Secret != "" {
		where = fmt.Sprintf("the key %s of Secret %s", ref.Key, ref.Secret)
	}
	return hook.Refuse(finding.Finding{
		ID: finding.BackupKey, Severity: finding.Error, Object: "backup " + m.Name, Value: "global.secrets.existingSecret",
		Found: fmt.Sprintf("the credentials in backup %s are encrypted with another key than %s", m.Name, where),
		Why:   "users' stored credentials could not be read after the restore, and upgrades would be refused",
		Fix: "put the key of the installation that made the backup into that Secret and restart the control plane, or, " +
			"if those credentials may be lost, restore with --allow-other-key",
	})
}

// dumpedKey reads the record of the key from a dump.
func (b *Backup) dumpedKey(ctx context.Context, dump string) (migrate.KeyRecord, error) {
	var r migrate.KeyRecord
	var out bytes.Buffer
	err := run(b.command(ctx, "pg_restore", "--data-only", "--schema=neutree", "--table=encryption_key",
		"--file=-", dump), &out)
	if err != nil {
		return r, err
	}
	_, rows, found := strings.Cut(out.String(), "COPY neutree.encryption_key (one, salt, digest) FROM stdin;\n")
	if !found {
		return r, nil
	}
	row, _, _ := strings.Cut(rows, "\n")
	columns := strings.Split(row, "\t")
	if len(columns) != 3 {
		return r, nil
	}
	// In the text of COPY a backslash is escaped: a value is written as \\x and its hexadecimal digits.
	for i, into := range []*[]byte{&r.Salt, &r.Digest} {
		if *into, err = hex.DecodeString(strings.TrimLeft(columns[i+1], `\x`)); err != nil {
			return migrate.KeyRecord{}, fmt.Errorf("the dump's record of the encryption key is damaged: %w", err)
		}
	}
	return r, nil
}

// checkServer refuses a server that is older than the one that the backup is of.
func (b *Backup) checkServer(ctx context.Context, conn *pgx.Conn, m Metadata) error {
	var major int
	if err := conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::int / 10000").Scan(&major); err != nil {
		return fmt.Errorf("ask the database for its version: %w", err)
	}
	number, _, _ := strings.Cut(m.Server, ".")
	was, err := strconv.Atoi(strings.TrimRight(number, " abcdefghijklmnopqrstuvwxyz()"))
	if err == nil && was > major {
		return hook.Refusef(finding.BackupServer, "it takes a server that is not older",
			"backup %s is of PostgreSQL %d, and the server is PostgreSQL %d", m.Name, was, major)
	}
	return b.checkMajor(ctx, major)
}

package backup

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/progress"
)

// Create makes the backup called name. Of the others of its kind it keeps the newest, as many as the retention allows,
// and those called keep. One that was complete already, when a pod was lost after its work was done, is left as it is.
// A retry of an upgrade may have no need of a new one: what is returned then is the backup that it relies on. Where
// there are Copies, the backup is copied when it is complete.
func (b *Backup) Create(ctx context.Context, name, reason string, keep ...string) (Metadata, error) {
	if err := ValidateName(name); err != nil {
		return Metadata{}, err
	}
	unlock, err := b.lock("backup create " + name)
	if err != nil {
		return Metadata{}, err
	}
	defer unlock()
	m, err := b.create(ctx, name, reason, keep)
	if err != nil {
		return m, err
	}
	return b.copyAway(ctx, m)
}

// create makes the backup in the claim.
func (b *Backup) create(ctx context.Context, name, reason string, keep []string) (Metadata, error) {
	if m, err := b.Read(name); err == nil {
		return m, b.check(ctx, m)
	}
	if err := b.removePartial(); err != nil {
		return Metadata{}, err
	}
	kind := KindOf(name)
	if kind == Upgrade && !b.Fresh {
		if m, will, err := b.relyOn(ctx); will || err != nil {
			return m, err
		}
	}
	dir := filepath.Join(b.Spec.Dir, partial+name)
	if err := os.Mkdir(dir, 0o750); err != nil {
		return Metadata{}, b.full(fmt.Errorf("begin backup %s: %w", name, err))
	}
	m, err := b.fill(ctx, dir, Metadata{
		Name: name, Time: time.Now().UTC().Truncate(time.Second), Reason: reason, Kind: kind, Job: b.job,
		Release: b.Spec.Release, Revision: b.Spec.Revision, Chart: b.Spec.Chart, Images: b.Spec.Images,
	})
	if err == nil {
		err = b.publish(ctx, dir, m)
	}
	if err != nil {
		return Metadata{}, errors.Join(b.full(err), os.RemoveAll(dir))
	}
	return m, b.prune(kind, append(keep, name)...)
}

// fill saves both databases to dir.
func (b *Backup) fill(ctx context.Context, dir string, m Metadata) (Metadata, error) {
	began := time.Now()
	if err := b.dump(ctx, filepath.Join(dir, databaseFile), &m); err != nil {
		return m, err
	}
	saved := []string{databaseFile}
	if b.Spec.AFS != "" {
		switch _, err := os.Stat(b.Spec.AFS); {
		case errors.Is(err, fs.ErrNotExist):
			b.Log.Warn("AFS has no database yet: there is none to save", "file", b.Spec.AFS)
		case err != nil:
			return m, fmt.Errorf("find AFS's database: %w", err)
		default:
			if err := saveSQLite(ctx, b.Spec.AFS, filepath.Join(dir, afsFile)); err != nil {
				return m, err
			}
			saved = append(saved, afsFile)
		}
	}
	m.Files = map[string]File{}
	for _, name := range saved {
		f, err := seal(ctx, filepath.Join(dir, name))
		if err != nil {
			return m, err
		}
		m.Files[name] = f
		m.Bytes += f.Bytes
	}
	m.Seconds = time.Since(began).Round(time.Millisecond).Seconds()
	return m, nil
}

// dump writes the database to path and reads it back. What is said of the database in m and what is in the dump are of
// the same instant.
func (b *Backup) dump(ctx context.Context, path string, m *Metadata) error {
	conn, err := migrate.Connect(ctx, b.DatabaseURL)
	if err != nil {
		return fmt.Errorf("connect to the database: %s", migrate.Reason(err))
	}
	defer migrate.Close(ctx, conn)
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return fmt.Errorf("ask the database: %w", err)
	}
	var major int
	var snapshot string
	err = tx.QueryRow(ctx, `SELECT current_setting('server_version'), current_setting('server_version_num')::int / 10000,
  pg_database_size(current_database()), pg_export_snapshot()`).Scan(&m.Server, &major, &m.DatabaseBytes, &snapshot)
	if err != nil {
		return fmt.Errorf("ask the database: %w", err)
	}
	if err := b.checkMajor(ctx, major); err != nil {
		return err
	}
	if m.Ledgers, err = migrate.Ledgers(ctx, conn); err != nil {
		return err
	}
	if m.Set, m.Applied, err = migrate.LastSet(ctx, conn); err != nil {
		return err
	}
	if m.Key, err = migrate.Key(ctx, conn); err != nil {
		return err
	}
	if err := b.joinSeries(m); err != nil {
		return err
	}
	if err := b.checkRoom(m.DatabaseBytes); err != nil {
		return err
	}
	b.Log.Info("dumping the database", "size", Size(m.DatabaseBytes))
	cmd, err := b.connection(b.command(ctx, "pg_dump", "--format=custom", "--snapshot="+snapshot,
		"--exclude-table-data="+migrate.OwnerTable, "--file="+path))
	if err != nil {
		return err
	}
	stop := b.watch(path)
	err = run(cmd, nil)
	stop()
	if err != nil {
		return err
	}
	if err := b.recordRows(ctx, conn, m); err != nil {
		return err
	}
	b.Log.Info("reading the dump back")
	m.Tables, err = b.readBack(ctx, path)
	return err
}

// joinSeries notes the series that a backup before an upgrade belongs to.
func (b *Backup) joinSeries(m *Metadata) error {
	if m.Kind != Upgrade {
		return nil
	}
	list, _, err := b.List()
	if err != nil {
		return err
	}
	over, err := b.seriesOver()
	if err != nil {
		return err
	}
	first, _ := standing{ledgers: m.Ledgers, set: m.Set, applied: m.Applied, over: over}.series(list)
	m.Series = cmp.Or(first, m.Name)
	return nil
}

func (b *Backup) checkRoom(database int64) error {
	others, _, err := b.List()
	if err != nil {
		return err
	}
	var last *Metadata
	if len(others) > 0 {
		last = &others[0]
	}
	var afs int64
	if info, err := os.Stat(b.Spec.AFS); err == nil {
		afs = info.Size()
	}
	return b.checkSpace(database, afs, last)
}

// watch says now and then how much of the dump is written, until the function it returns is called.
func (b *Backup) watch(path string) func() {
	return progress.Report(func(elapsed string) {
		if info, err := os.Stat(path); err == nil {
			b.Log.Info("dumping the database", "written", Size(info.Size()), "elapsed", elapsed)
		}
	})
}

// seal brings the file to the disk and returns its checksum.
func seal(ctx context.Context, path string) (File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return File{}, fmt.Errorf("seal %s: %w", path, err)
	}
	defer f.Close() //nolint:errcheck // It is synced.
	hash := sha256.New()
	n, err := io.Copy(hash, readerWith(ctx, f))
	if err := errors.Join(err, f.Chmod(0o640), f.Sync()); err != nil {
		return File{}, fmt.Errorf("seal %s: %w", path, err)
	}
	return File{Bytes: n, SHA256: hex.EncodeToString(hash.Sum(nil))}, nil
}

// publish gives a complete backup its name.
func (b *Backup) publish(ctx context.Context, dir string, m Metadata) error {
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, metadataFile)
	if err := os.WriteFile(path, append(raw, '\n'), 0o640); err != nil {
		return fmt.Errorf("write the description of backup %s: %w", m.Name, err)
	}
	if _, err := seal(ctx, path); err != nil {
		return err
	}
	if err := errors.Join(syncDir(dir), os.Rename(dir, filepath.Join(b.Spec.Dir, m.Name)), syncDir(b.Spec.Dir)); err != nil {
		return fmt.Errorf("complete backup %s: %w", m.Name, err)
	}
	b.Log.Info("backup complete", "name", m.Name, "size", Size(m.Bytes), "tables", m.Tables)
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// removePartial clears away what runs left that were killed.
func (b *Backup) removePartial() error {
	left, err := filepath.Glob(filepath.Join(b.Spec.Dir, partial+"*"))
	if err != nil {
		return err
	}
	for _, dir := range left {
		b.Log.Info("removing what is left of a run that did not end", "folder", filepath.Base(dir))
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove an incomplete backup: %w", err)
		}
	}
	return nil
}

// Summary says in one sentence what a backup holds.
func (m Metadata) Summary() string {
	s := fmt.Sprintf("backup %s: %d tables, %s of database in %s, %.1f s", m.Name, m.Tables, Size(m.DatabaseBytes), Size(m.Bytes), m.Seconds)
	if _, ok := m.Files[afsFile]; ok {
		s += ", with AFS's database"
	}
	if m.Copy != "" {
		s += ", " + m.Copy
	}
	return s
}

// Package backup saves the platform's database, and AFS's beside it, to a folder, and brings them back. It runs where
// the folder is mounted, in an image that holds PostgreSQL's client programs of the server's major version.
package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

// The files of one backup, which is a folder of the store.
const (
	metadataFile = "backup.json"
	databaseFile = "database.dump"
	afsFile      = "controller.db"
)

// Backup makes, checks and restores the backups of one installation.
type Backup struct {
	Log  *slog.Logger
	Spec hook.BackupSpec
	// DatabaseURL is the database's address, with its password.
	DatabaseURL string
	// CredentialKey is for migrations that encrypt: after a restore the schema is brought up to date.
	CredentialKey string
	// Note is the folder with what the client of a restore has noted: the attempt's id, and the workspaces that there are
	// in the cluster. Empty where there is none, as with a client of version 0.1.0.
	Note string
	// AllowOtherKey admits a backup whose credentials are encrypted with another key than CredentialKey.
	AllowOtherKey bool
	// Fresh makes a backup also where an earlier one would do.
	Fresh bool
	// Bin is the folder with PostgreSQL's programs; empty to look in PATH.
	Bin string
	// Copies keeps copies of backups outside the cluster. Nil for none.
	Copies Copies
	// LockTimeout bounds a restore's wait for a table that another session uses; 0 means 15 seconds.
	LockTimeout time.Duration

	// job is the name of the Job of the schedule that this makes a backup for, "" for none.
	job string
}

// partial marks a backup that is being made. A run that was killed leaves it to the next one to remove.
const partial = ".partial-"

// lock keeps a second run from the folder, and leaves a note on what this one does. All pods that mount the claim run on one
// node, so one kernel sees all locks.
func (b *Backup) lock(what string) (unlock func(), err error) {
	if err := os.MkdirAll(b.Spec.Dir, 0o750); err != nil {
		return nil, b.full(fmt.Errorf("open the folder of the backups: %w", err))
	}
	f, err := os.OpenFile(filepath.Join(b.Spec.Dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, b.full(fmt.Errorf("open the folder of the backups: %w", err))
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close() //nolint:errcheck // It was only read.
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, hook.Failf(hook.Busy, finding.BackupBusy, "wait until it ends",
				"%s is using PVC %s", holder(f), b.Spec.Claim)
		}
		return nil, fmt.Errorf("lock the folder of the backups: %w", err)
	}
	// The note is for people. A volume that is full has no room for it, and a backup may be deleted all the same.
	if err := errors.Join(f.Truncate(0), note(f, what)); err != nil {
		b.Log.Warn("what this run does could not be written down for others", "cause", err.Error())
	}
	return func() { _ = f.Truncate(0); _ = f.Close() }, nil
}

// note writes what a run does, and where.
func note(f *os.File, what string) error {
	if pod, err := os.Hostname(); err == nil {
		what += " in pod " + pod
	}
	_, err := f.WriteAt([]byte(what+", since "+time.Now().UTC().Format(time.RFC3339)), 0)
	return err
}

// holder is what the run that has the lock wrote down.
func holder(f *os.File) string {
	text, err := io.ReadAll(io.LimitReader(f, 200))
	if said := strings.TrimSpace(string(text)); err == nil && said != "" {
		return "another run (" + said + ")"
	}
	return "another backup or restore"
}

// replaceFile writes a file of the store, whole or not at all.
func (b *Backup) replaceFile(name string, content []byte) error {
	f, err := os.CreateTemp(b.Spec.Dir, partial+"file-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // It is renamed by then.
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(b.Spec.Dir, name))
}

// Delete removes one backup.
func (b *Backup) Delete(_ context.Context, name string) error {
	unlock, err := b.lock("backup delete " + name)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := b.Read(name); err != nil {
		// One that can't be read may be deleted, one that is not there can't.
		if _, serr := os.Stat(filepath.Join(b.Spec.Dir, name)); serr != nil || ValidateName(name) != nil {
			return err
		}
	}
	return b.remove(name)
}

// remove takes the backup out of sight first: half of one must not look like one.
func (b *Backup) remove(name string) error {
	gone := filepath.Join(b.Spec.Dir, partial+name)
	if err := errors.Join(os.RemoveAll(gone), os.Rename(filepath.Join(b.Spec.Dir, name), gone), os.RemoveAll(gone)); err != nil {
		return fmt.Errorf("delete backup %s: %w", name, err)
	}
	b.Log.Info("backup deleted", "name", name)
	return nil
}

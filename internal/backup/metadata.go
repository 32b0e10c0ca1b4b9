package backup

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
)

// Metadata describes one backup. It lies beside the files as JSON.
type Metadata struct {
	Name   string    `json:"name"`
	Time   time.Time `json:"time"`
	Reason string    `json:"reason,omitempty"`
	// Kind is what it was made for. Backups of version 0.1.0 do not say so: see KindOf.
	Kind Kind `json:"kind,omitempty"`
	// Series is, of one before an upgrade, the name of the first backup that was made since migrations were applied
	// completely: see series.
	Series string `json:"series,omitempty"`
	// Job is, of a scheduled one, the name of the Job that made it.
	Job string `json:"job,omitempty"`
	// Release, Revision, Chart and Images are those of the release that made the backup.
	Release  string            `json:"release"`
	Revision int               `json:"revision"`
	Chart    string            `json:"chart"`
	Images   map[string]string `json:"images"`
	// Set is the set of migrations that was applied last, Applied when that was.
	Set     string    `json:"set,omitempty"`
	Applied time.Time `json:"applied,omitzero"`
	// Key recognises the key that credentials in the database are encrypted with.
	Key migrate.KeyRecord `json:"encryptionKey,omitzero"`
	// Ledgers are the ids of all migrations in the database, by ledger.
	Ledgers map[string][]string `json:"ledgers"`
	// Server is the version of PostgreSQL.
	Server string `json:"server"`
	// DatabaseBytes is what the database took on the server, Bytes what the backup takes.
	DatabaseBytes int64 `json:"databaseBytes"`
	Bytes         int64 `json:"bytes"`
	Tables        int   `json:"tables"`
	// Rows is how many rows each table had. Backups of earlier versions do not say so.
	Rows map[string]int64 `json:"rows,omitempty"`
	// Files are the checksums of the files, by name.
	Files map[string]File `json:"files"`
	// Seconds is how long it took.
	Seconds float64 `json:"seconds"`
	// Copy says how this run has copied it out of the cluster. It is not kept.
	Copy string `json:"-"`
}

// File is one file of a backup.
type File struct {
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Head is the newest migration of the control plane's, which tells people most about the schema.
func (m Metadata) Head() string {
	head := ""
	for _, id := range m.Ledgers["public.schema_migrations"] {
		if !strings.HasPrefix(id, "channel_") {
			head = max(head, id)
		}
	}
	return head
}

var namePattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,28}[a-z0-9])?$`)

// ValidateName refuses a name that is none of a backup: names become folders and parts of Jobs' names.
func ValidateName(name string) error {
	if !namePattern.MatchString(name) {
		return hook.Errorf(hook.Usage,
			"%q is no name of a backup: lower-case letters, digits and dashes, 30 at most", name)
	}
	return nil
}

// NewName names a backup after the second it was begun in, so that names sort by age.
func NewName(now time.Time) string { return now.UTC().Format("20060102-150405") }

// Read returns what is known of the backup called name.
func (b *Backup) Read(name string) (Metadata, error) {
	var m Metadata
	if err := ValidateName(name); err != nil {
		return m, err
	}
	raw, err := os.ReadFile(filepath.Join(b.Spec.Dir, name, metadataFile))
	if errors.Is(err, fs.ErrNotExist) {
		return m, hook.Refusef(finding.BackupMissing, "helm neutree backup list shows those that are",
			"there is no backup %s in claim %s", name, b.Spec.Claim)
	}
	if err != nil {
		return m, fmt.Errorf("read backup %s: %w", name, err)
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, damaged(name, "its %s is no JSON: %v", metadataFile, err)
	}
	if m.Name != name {
		return m, damaged(name, "its %s is that of %q", metadataFile, m.Name)
	}
	m.Kind = cmp.Or(m.Kind, KindOf(name))
	return m, nil
}

// damaged refuses a backup.
func damaged(name, format string, args ...any) error {
	return hook.Refusef(finding.BackupDamaged, "restore another one",
		"backup %s is damaged: %s", name, fmt.Sprintf(format, args...))
}

// List returns all backups, the newest first, and warnings on those that can't be read.
func (b *Backup) List() ([]Metadata, []string, error) {
	entries, err := os.ReadDir(b.Spec.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("list the backups: %w", err)
	}
	list := []Metadata{}
	var damaged []string
	for _, entry := range entries {
		if !entry.IsDir() || ValidateName(entry.Name()) != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(b.Spec.Dir, entry.Name(), metadataFile)); err != nil {
			// Not ours: lost+found, for one.
			continue
		}
		m, err := b.Read(entry.Name())
		if err != nil {
			damaged = append(damaged, err.Error())
			continue
		}
		list = append(list, m)
	}
	slices.SortFunc(list, func(x, y Metadata) int {
		return cmp.Or(y.Time.Compare(x.Time), cmp.Compare(y.Name, x.Name))
	})
	return list, damaged, nil
}

package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/neutree-ai/packaging/internal/migrate"
)

// An upgrade whose migrations fail is tried again, by people and by tools: that is a series of attempts. It ends when
// migrations are applied completely. The first backup of a series holds the database as the running services know it;
// later ones hold what failed attempts have left. So the first is the one to go back to, and it is kept until the
// series has succeeded and the next one has a backup of its own. A restore ends a series too: services run on what it
// brings back, and the next attempt comes after what users did since.

// reliable is how old a backup may be for a retry to rely on it. Services keep running between the attempts, and what
// users do after the backup is not in it.
const reliable = 6 * time.Hour

// restoredFile of the store holds the names of the backups before upgrades that there were at the last restore: no
// later one belongs to the series of any of them. The restore may have brought back the very state that one of them
// holds, so the database alone does not show it.
const restoredFile = ".restored.json"

// standing is what decides on the series that a backup belongs to.
type standing struct {
	ledgers map[string][]string
	set     string
	applied time.Time
	// over are the backups whose series a restore has ended.
	over []string
}

// ask reads what is known of the migrations in the database, and of restores.
func (b *Backup) ask(ctx context.Context) (standing, error) {
	var s standing
	conn, err := migrate.Connect(ctx, b.DatabaseURL)
	if err != nil {
		return s, fmt.Errorf("connect to the database: %s", migrate.Reason(err))
	}
	defer migrate.Close(ctx, conn)
	if s.over, err = b.seriesOver(); err != nil {
		return s, err
	}
	if s.ledgers, err = migrate.Ledgers(ctx, conn); err != nil {
		return s, err
	}
	s.set, s.applied, err = migrate.LastSet(ctx, conn)
	return s, err
}

// series finds the series that a backup of a database which stands like s would belong to: the name of its first
// backup, and its newest one. list are all backups, the newest first. There is none when since the last backup before
// an upgrade migrations were applied completely, or the database went back.
func (s standing) series(list []Metadata) (first string, newest *Metadata) {
	i := slices.IndexFunc(list, func(m Metadata) bool { return m.Kind == Upgrade })
	if i < 0 || slices.Contains(s.over, list[i].Name) || !s.follows(list[i]) {
		return "", nil
	}
	return firstOf(list, list[i]), &list[i]
}

// follows says whether nothing but attempts that failed lies between m and the database.
func (s standing) follows(m Metadata) bool {
	for ledger, ids := range m.Ledgers {
		for _, id := range ids {
			if !slices.Contains(s.ledgers[ledger], id) {
				return false
			}
		}
	}
	switch {
	case m.Set != s.set:
		return false
	case m.Applied.IsZero():
		return !s.applied.After(m.Time)
	}
	return m.Applied.Equal(s.applied)
}

// firstOf is the name of the oldest backup of m's series that there is. list is sorted, the newest first. Version 0.1.0
// wrote no series: there it is all backups in a row that were made on the same set of migrations.
func firstOf(list []Metadata, m Metadata) string {
	first := m.Name
	for _, other := range list[slices.IndexFunc(list, func(o Metadata) bool { return o.Name == m.Name }):] {
		same := other.Series == m.Series && (m.Series != "" || other.Set == m.Set)
		switch {
		case other.Kind == Manual, other.Kind == Scheduled:
		case other.Kind == Upgrade && (same || other.Name == m.Series):
			first = other.Name
		case m.Series == "":
			return first
		}
	}
	return first
}

// savedBy says whether m, the newest of the series, is as good as a backup of now.
func (s standing) savedBy(m Metadata, list []Metadata, now time.Time) bool {
	// What a person put in its place by a restore since then is not what m holds.
	restored := slices.ContainsFunc(list, func(o Metadata) bool { return o.Kind == Restore && !o.Time.Before(m.Time) })
	age := now.Sub(m.Time)
	return !restored && age >= 0 && age <= reliable && maps.EqualFunc(m.Ledgers, s.ledgers, slices.Equal[[]string])
}

// relyOn is the backup that a retry can go back to, so that it needs none of its own: the newest of its series, if the
// failed attempts since have applied nothing, and if it is young and good.
func (b *Backup) relyOn(ctx context.Context) (Metadata, bool, error) {
	list, _, err := b.List()
	if err != nil || len(list) == 0 {
		return Metadata{}, false, err
	}
	now, err := b.ask(ctx)
	if err != nil {
		return Metadata{}, false, err
	}
	_, newest := now.series(list)
	if newest == nil || !now.savedBy(*newest, list, time.Now()) {
		return Metadata{}, false, nil
	}
	if err := b.check(ctx, *newest); err != nil {
		b.Log.Warn("the backup of an earlier attempt is of no use: another one is made", "cause", err.Error())
		return Metadata{}, false, nil
	}
	b.Log.Info("an earlier attempt saved the database, and it has the same migrations since: that backup will do",
		"backup", newest.Name)
	return *newest, true, nil
}

// endSeries notes that the database was restored.
func (b *Backup) endSeries() error {
	list, _, err := b.List()
	if err != nil {
		return err
	}
	names := []string{}
	for _, m := range list {
		if m.Kind == Upgrade {
			names = append(names, m.Name)
		}
	}
	raw, err := json.Marshal(names)
	if err == nil {
		err = b.replaceFile(restoredFile, raw)
	}
	if err != nil {
		return fmt.Errorf("note that the database was restored: %w", err)
	}
	return nil
}

// seriesOver are the backups before upgrades that there were at the last restore.
func (b *Backup) seriesOver() ([]string, error) {
	path := filepath.Join(b.Spec.Dir, restoredFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	if err == nil {
		err = json.Unmarshal(raw, &names)
	}
	if err != nil {
		return nil, fmt.Errorf("find out which backups are older than the last restore, from %s: %w", path, err)
	}
	return names, nil
}

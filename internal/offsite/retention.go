package offsite

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

// keep decides which of several backups are kept, by their names: the newest of each kind, and the newest of each of
// the last days, weeks and months that have one. The newest of all is always kept. Days begin at midnight UTC, weeks on
// Monday.
func keep(list []backup.Metadata, r hook.CopyRetention) map[string]bool {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b backup.Metadata) int { return b.Time.Compare(a.Time) })
	kept := map[string]bool{}
	ofKind := map[backup.Kind]int{}
	for i, m := range list {
		kind := m.Kind
		if kind == "" {
			kind = backup.KindOf(m.Name)
		}
		if ofKind[kind]++; i == 0 || ofKind[kind] <= r.Last {
			kept[m.Name] = true
		}
	}
	for _, span := range []struct {
		count int
		of    func(time.Time) string
	}{
		{r.Daily, func(t time.Time) string { return t.Format(time.DateOnly) }},
		{r.Weekly, func(t time.Time) string { year, week := t.ISOWeek(); return fmt.Sprintf("%d/%d", year, week) }},
		{r.Monthly, func(t time.Time) string { return t.Format("2006-01") }},
	} {
		last, found := "", 0
		for _, m := range list {
			in := span.of(m.Time.UTC())
			if in == last {
				continue
			}
			if found++; found > span.count {
				break
			}
			kept[m.Name], last = true, in
		}
	}
	return kept
}

// abandoned is how old the newest object of an incomplete copy is that nothing continues: another cluster may be
// writing it.
const abandoned = 48 * time.Hour

// Prune deletes complete copies that are not kept, and what is left of copies that nothing continues. list is all
// backups. Copies that this version can't read stay.
func (c *Copier) Prune(ctx context.Context, list []backup.Metadata) error {
	copies, err := List(ctx, c.Store, c.Release)
	if err != nil {
		return err
	}
	var copied []backup.Metadata
	for _, one := range copies.Copies {
		copied = append(copied, one.Backup)
	}
	kept := keep(copied, c.Retention)
	for _, m := range copied {
		if kept[m.Name] {
			continue
		}
		if allowed, err := c.remove(ctx, m.Name, "a copy beyond the retention"); err != nil || !allowed {
			return err
		}
	}
	for _, name := range copies.Incomplete {
		if slices.ContainsFunc(list, func(m backup.Metadata) bool { return m.Name == name }) {
			continue
		}
		newest := time.Time{}
		for object, err := range c.Store.List(ctx, c.Release.folder(name), true) {
			if err != nil {
				return err
			}
			if object.Modified.After(newest) {
				newest = object.Modified
			}
		}
		if time.Since(newest) < abandoned {
			continue
		}
		if allowed, err := c.remove(ctx, name, "an incomplete copy"); err != nil || !allowed {
			return err
		}
	}
	return nil
}

// remove deletes a copy, its description first: what is left must not look complete. A store that keeps what is in it
// is no failure: the copy stays, and allowed is false where that holds for all copies.
func (c *Copier) remove(ctx context.Context, name, what string) (allowed bool, err error) {
	folder := c.Release.folder(name)
	err = c.Store.Delete(ctx, folder+DescriptionFile)
	if err == nil {
		err = c.removeAll(ctx, folder)
	}
	switch {
	case err == nil:
		c.Log.Info("deleted "+what, "backup", name, "in", c.Store.String())
		return true, nil
	case is(err, finding.OffsiteLocked):
		c.Log.Info(what+" is kept: the store has locked it for some time", "backup", name, "cause", err.Error())
		return true, nil
	case is(err, finding.OffsiteAccess):
		c.Log.Warn("copies beyond the retention are kept: the credentials do not allow to delete them", "cause", err.Error())
		return false, nil
	}
	return false, err
}

// removeAll deletes what is in a folder. The names are collected first, of a thousand parts at a time.
func (c *Copier) removeAll(ctx context.Context, folder string) error {
	for {
		var keys []string
		for object, err := range c.Store.List(ctx, folder, true) {
			if err != nil {
				return err
			}
			if keys = append(keys, object.Key); len(keys) == 1000 {
				break
			}
		}
		for _, key := range keys {
			if !strings.HasPrefix(key, folder) {
				return fmt.Errorf("%s listed %q, which is not in the folder %s", c.Store, key, folder)
			}
			if err := c.Store.Delete(ctx, key); err != nil {
				return err
			}
		}
		if len(keys) < 1000 {
			return nil
		}
	}
}

// is says whether err is the finding with that ID.
func is(err error, id finding.ID) bool {
	return slices.ContainsFunc(finding.Of(err), func(f finding.Finding) bool { return f.ID == id })
}

package offsite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

// Releases lists the installations that have backups in a store.
func Releases(ctx context.Context, store Store) ([]Release, error) {
	var releases []Release
	for object, err := range store.List(ctx, "", false) {
		if err != nil {
			return nil, err
		}
		if release, is := ParseRelease(strings.TrimSuffix(object.Key, "/")); is && object.IsFolder() {
			releases = append(releases, release)
		}
	}
	slices.SortFunc(releases, func(a, b Release) int { return cmp.Compare(a.String(), b.String()) })
	return releases, nil
}

// Listing is the copies of one release's backups.
type Listing struct {
	// Copies are those that are complete, the newest first.
	Copies []*Copy
	// Incomplete are the names of backups whose copy has no description (yet), sorted.
	Incomplete []string
	// Unreadable are copies whose description can't be used, by the name of the backup, with the reason.
	Unreadable map[string]error
}

// List lists the copies of a release's backups. A description that can't be used is no error.
func List(ctx context.Context, store Store, release Release) (Listing, error) {
	l := Listing{Unreadable: map[string]error{}}
	prefix := release.String() + "/"
	var names []string
	for object, err := range store.List(ctx, prefix, false) {
		if err != nil {
			return l, err
		}
		name := strings.TrimSuffix(strings.TrimPrefix(object.Key, prefix), "/")
		if object.IsFolder() && backup.ValidateName(name) == nil {
			names = append(names, name)
		}
	}
	for _, name := range names {
		copied, err := read(ctx, store, release, name)
		switch {
		case isMissing(err):
			l.Incomplete = append(l.Incomplete, name)
		case hook.CodeOf(err) == hook.Refused && isDescription(err):
			l.Unreadable[name] = err
		case err != nil:
			return l, err
		default:
			l.Copies = append(l.Copies, copied)
		}
	}
	slices.Sort(l.Incomplete)
	slices.SortFunc(l.Copies, func(a, b *Copy) int {
		return cmp.Or(b.Backup.Time.Compare(a.Backup.Time), cmp.Compare(b.Backup.Name, a.Backup.Name))
	})
	return l, nil
}

// isDescription says whether err is about one copy, and not about the store.
func isDescription(err error) bool {
	return slices.ContainsFunc(finding.Of(err), func(f finding.Finding) bool {
		return f.ID == finding.OffsiteDamaged || f.ID == finding.OffsiteFormat
	})
}

// Copy is a complete copy of a backup.
type Copy struct {
	Manifest
	store Store
}

// Read reads the description of the copy of the backup called name.
func Read(ctx context.Context, store Store, release Release, name string) (*Copy, error) {
	if err := backup.ValidateName(name); err != nil {
		return nil, err
	}
	copied, err := read(ctx, store, release, name)
	if !isMissing(err) {
		return copied, err
	}
	for object, lerr := range store.List(ctx, release.folder(name), false) {
		if lerr != nil {
			return nil, lerr
		}
		if object.Key != "" {
			return nil, hook.Refusef(finding.OffsiteIncomplete,
				"use another copy, or wait until the cluster has completed this one",
				"the copy of backup %s in %s is incomplete: it has no %s yet", name, store, DescriptionFile)
		}
	}
	return nil, hook.Refusef(finding.OffsiteMissing, "list the copies that there are, with helm neutree backup list --from",
		"there is no copy of backup %s of release %s in namespace %s in %s", name, release.Name, release.Namespace, store)
}

// read returns fs.ErrNotExist for a copy without a description.
func read(ctx context.Context, store Store, release Release, name string) (*Copy, error) {
	raw, err := store.Get(ctx, release.folder(name)+DescriptionFile, maxDescription)
	if isTooLarge(err) {
		return nil, damaged(name, store, "%v", err)
	}
	if err != nil {
		return nil, err
	}
	m, err := readManifest(raw, release, name)
	var newer *newerError
	if errors.As(err, &newer) {
		return nil, hook.Refusef(finding.OffsiteFormat, "use the newest version of the plugin",
			"the copy of backup %s in %s is of a newer version: %v", name, store, err)
	}
	if err != nil {
		return nil, damaged(name, store, "%s: %v", DescriptionFile, err)
	}
	m.Backup.Kind = cmp.Or(m.Backup.Kind, backup.KindOf(name))
	return &Copy{Manifest: m, store: store}, nil
}

// damaged refuses a copy.
func damaged(name string, store Store, format string, args ...any) error {
	return hook.Refusef(finding.OffsiteDamaged, "use another copy",
		"the copy of backup %s in %s is damaged: %s", name, store, fmt.Sprintf(format, args...))
}

// FileNames are the names of the files of the backup, sorted.
func (c *Copy) FileNames() []string { return slices.Sorted(maps.Keys(c.Files)) }

func (c *Copy) key(name string) string { return c.Release().folder(c.Backup.Name) + name }

// part reads an object of the copy and compares it with the description.
func (c *Copy) part(ctx context.Context, name string, want Part) ([]byte, error) {
	content, err := c.store.Get(ctx, c.key(name), want.Bytes)
	switch {
	case isMissing(err):
		return nil, damaged(c.Backup.Name, c.store, "%s is missing", name)
	case isTooLarge(err):
		return nil, damaged(c.Backup.Name, c.store, "%v", err)
	case err != nil:
		return nil, err
	}
	if got := describe(content); got != want {
		return nil, damaged(c.Backup.Name, c.store, "%s has %s and the checksum %.12s…, not %s and %.12s…",
			name, backup.Size(got.Bytes), got.SHA256, backup.Size(want.Bytes), want.SHA256)
	}
	return content, nil
}

// Verify reads all of the copy and compares it with its description, without decrypting it. done is called with the
// bytes that were read so far, and may be nil.
func (c *Copy) Verify(ctx context.Context, done func(bytes int64)) error {
	if done == nil {
		done = func(int64) {}
	}
	var sum int64
	for _, file := range c.FileNames() {
		for n, part := range c.Files[file].Parts {
			if _, err := c.part(ctx, partName(c.Folder, file, n), part); err != nil {
				return err
			}
			sum += part.Bytes
			done(sum)
		}
	}
	_, err := c.part(ctx, escrowName(c.Folder), c.Escrow)
	return err
}

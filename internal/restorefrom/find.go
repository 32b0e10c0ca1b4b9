package restorefrom

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/offsite"
	"github.com/neutree-ai/packaging/internal/plain"
)

// Latest names the newest complete copy.
const Latest = "latest"

// Find returns the copy of the backup called name, or the newest one for Latest. release is empty where the store has
// the backups of one installation only; otherwise it is a release's name, or its namespace, a dot and its name.
func Find(ctx context.Context, store offsite.Store, release, name string) (*offsite.Copy, error) {
	of, err := releasesOf(ctx, store, release)
	if err != nil {
		return nil, err
	}
	if len(of) > 1 {
		var names []string
		for _, one := range of {
			names = append(names, one.String())
		}
		return nil, hook.Refusef(finding.BackupRelease, "choose one with --release, of "+strings.Join(names, ", "),
			"%s has copies of several releases", store)
	}
	if name != Latest {
		return offsite.Read(ctx, store, of[0], name)
	}
	listing, err := offsite.List(ctx, store, of[0])
	if err != nil {
		return nil, err
	}
	if len(listing.Copies) == 0 {
		return nil, hook.Refusef(finding.BackupMissing,
			"helm neutree backup list --from shows what there is, and why it can't be used",
			"%s has no complete copy of a backup of release %s", store, of[0])
	}
	return listing.Copies[0], nil
}

// releasesOf are the installations in a store that release names, at least one.
func releasesOf(ctx context.Context, store offsite.Store, release string) ([]offsite.Release, error) {
	all, err := offsite.Releases(ctx, store)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, hook.Refusef(finding.BackupMissing,
			"name the place and the prefix that global.backup names, without the folder of a release",
			"there are no copies of backups in %s", store)
	}
	if release == "" {
		return all, nil
	}
	var names []string
	of := slices.DeleteFunc(slices.Clone(all), func(one offsite.Release) bool {
		names = append(names, one.String())
		return one.Name != release && one.String() != release
	})
	if len(of) == 0 {
		return nil, hook.Refusef(finding.BackupRelease, "choose one with --release, of "+strings.Join(names, ", "),
			"%s has no copies of release %s", store, release)
	}
	return of, nil
}

// Entry is one copy in a list.
type Entry struct {
	Name          string      `json:"name"`
	Namespace     string      `json:"namespace"`
	Release       string      `json:"release"`
	Time          time.Time   `json:"time,omitzero"`
	Copied        time.Time   `json:"copied,omitzero"`
	Kind          backup.Kind `json:"kind,omitempty"`
	Reason        string      `json:"reason,omitempty"`
	Chart         string      `json:"chart,omitempty"`
	Revision      int         `json:"revision,omitempty"`
	Schema        string      `json:"schema,omitempty"`
	DatabaseBytes int64       `json:"databaseBytes,omitempty"`
	Bytes         int64       `json:"bytes,omitempty"`
	AFS           bool        `json:"afs"`
	// Problem says why the copy can't be used, "" where it can.
	Problem string `json:"problem,omitempty"`
}

// List lists the copies of the releases that release names, or of all, the newest of each first, and then those that
// can't be used.
func List(ctx context.Context, store offsite.Store, release string) ([]Entry, error) {
	of, err := releasesOf(ctx, store, release)
	if err != nil {
		return nil, err
	}
	entries := []Entry{}
	for _, one := range of {
		listing, err := offsite.List(ctx, store, one)
		if err != nil {
			return nil, err
		}
		for _, c := range listing.Copies {
			m := c.Backup
			_, afs := c.Files[backup.AFSFile]
			entries = append(entries, Entry{Name: m.Name, Namespace: one.Namespace, Release: one.Name, Time: m.Time,
				Copied: c.Copied, Kind: m.Kind, Reason: m.Reason, Chart: m.Chart, Revision: m.Revision, Schema: m.Head(),
				DatabaseBytes: m.DatabaseBytes, Bytes: c.Bytes(), AFS: afs})
		}
		for _, name := range listing.Incomplete {
			entries = append(entries, Entry{Name: name, Namespace: one.Namespace, Release: one.Name, Problem: "incomplete"})
		}
		for name, err := range listing.Unreadable {
			entries = append(entries, Entry{Name: name, Namespace: one.Namespace, Release: one.Name, Problem: err.Error()})
		}
	}
	return entries, nil
}

// WriteTable writes a list for people: the copies that can be used.
func WriteTable(w io.Writer, entries []Entry) error {
	t := tabwriter.NewWriter(plain.Writer(w), 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tTIME\tNAMESPACE\tRELEASE\tCHART\tREVISION\tSCHEMA\tDATABASE\tSIZE\tAFS\tKIND\tREASON")
	for _, e := range entries {
		if e.Problem != "" {
			continue
		}
		afs := "no"
		if e.AFS {
			afs = "yes"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n",
			e.Name, e.Time.UTC().Format(time.RFC3339), e.Namespace, e.Release, e.Chart, e.Revision, e.Schema,
			backup.Size(e.DatabaseBytes), backup.Size(e.Bytes), afs, e.Kind, e.Reason)
	}
	return t.Flush()
}

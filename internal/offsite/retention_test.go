package offsite

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

func TestKeep(t *testing.T) {
	var list []backup.Metadata
	for n := range 60 {
		// Two a day.
		list = append(list, backup.Metadata{Name: named(n), Time: day(n)},
			backup.Metadata{Name: named(n) + "b", Time: day(n).Add(12 * time.Hour)})
	}
	list = append(list, backup.Metadata{Name: "by-hand", Time: day(3)})
	for _, test := range []struct {
		name      string
		retention hook.CopyRetention
		want      []string
	}{
		{"the newest of each kind", hook.CopyRetention{Last: 1}, []string{"by-hand", named(59) + "b"}},
		{"days", hook.CopyRetention{Daily: 3}, []string{named(57) + "b", named(58) + "b", named(59) + "b"}},
		// 30 December 2026 is a Wednesday.
		{"weeks", hook.CopyRetention{Weekly: 2}, []string{named(56) + "b", named(59) + "b"}},
		{"months", hook.CopyRetention{Monthly: 5}, []string{named(29) + "b", named(59) + "b"}},
		{"nothing", hook.CopyRetention{}, []string{named(59) + "b"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := slices.Sorted(maps.Keys(keep(list, test.retention)))
			slices.Sort(test.want)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("kept (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMaintainMakesUpForCopiesAndKeepsTheRetention(t *testing.T) {
	i := newInstallation(t, folderStore(t))
	var list []backup.Metadata
	for n := range 4 {
		list = append([]backup.Metadata{i.made(t, named(n), day(n))}, list...)
	}
	damaged := i.made(t, "by-hand", day(2))
	list = append(list, damaged)
	check := func(_ context.Context, m backup.Metadata) error {
		if m.Name == damaged.Name {
			return errors.New("its checksum is wrong")
		}
		return nil
	}
	if err := i.Maintain(t.Context(), list, check); err != nil {
		t.Fatal(err)
	}
	listing, err := List(t.Context(), i.Store, i.Release)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range listing.Copies {
		names = append(names, c.Backup.Name)
	}
	if diff := cmp.Diff([]string{named(3), named(2)}, names); diff != "" {
		t.Errorf("copies (-want +got):\n%s", diff)
	}
	if !strings.Contains(i.said.String(), "its checksum is wrong") {
		t.Errorf("it said:\n%s", i.said)
	}

	// Two days later the oldest goes, the cluster's own backups notwithstanding.
	for n := 4; n < 6; n++ {
		list = append([]backup.Metadata{i.made(t, named(n), day(n))}, list...)
	}
	if err := i.Maintain(t.Context(), list, check); err != nil {
		t.Fatal(err)
	}
	for _, key := range keys(t, i.Store) {
		if strings.Contains(key, named(3)) || strings.Contains(key, named(2)) {
			t.Errorf("%s is left", key)
		}
	}
}

func TestWhatIsLeftOfACopyGoesWhenNothingContinuesIt(t *testing.T) {
	store := &failing{Store: folderStore(t), left: 3}
	i := newInstallation(t, store)
	gone := i.made(t, named(0), day(0))
	if err := i.Copy(t.Context(), gone); !errors.Is(err, errCut) {
		t.Fatalf("want the cut, got %v", err)
	}
	store.left = 1000
	left := keys(t, store)
	list := []backup.Metadata{i.made(t, named(1), day(1))}
	if err := i.Maintain(t.Context(), list, fine); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(keys(t, store), left[0]) {
		t.Error("what another cluster may be writing was deleted")
	}
	old := time.Now().Add(-abandoned - time.Hour)
	for _, key := range left {
		if err := os.Chtimes(filepath.Join(store.String(), key), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := i.Maintain(t.Context(), list, fine); err != nil {
		t.Fatal(err)
	}
	for _, key := range keys(t, store) {
		if strings.Contains(key, gone.Name) {
			t.Errorf("%s is left", key)
		}
	}
}

// What a run that was killed was writing to a file server goes with its copy.
func TestAFileThatWasBeingWrittenGoesWithItsCopy(t *testing.T) {
	store := folderStore(t)
	i := newInstallation(t, store)
	i.Retention = hook.CopyRetention{Last: 1}
	list := []backup.Metadata{i.made(t, named(1), day(1)), i.made(t, named(0), day(0))}
	for _, m := range list {
		if err := i.Copy(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	folder := filepath.Join(store.String(), i.Release.folder(named(0)))
	write(t, filepath.Join(folder, i.copied(t, named(0)).Folder, unfinished+"x"), []byte("half a part"))
	if err := i.Prune(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(folder); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left: %v", folder, err)
	}
}

// keeping is a store that deletes nothing.
type keeping struct {
	Store
	id finding.ID
}

func (k keeping) Delete(context.Context, string) error {
	return hook.Refusef(k.id, "", "it deletes nothing")
}

func TestAStoreThatKeepsCopiesIsNoFailure(t *testing.T) {
	for _, id := range []finding.ID{finding.OffsiteLocked, finding.OffsiteAccess} {
		i := newInstallation(t, keeping{folderStore(t), id})
		i.Retention = hook.CopyRetention{Last: 1}
		list := []backup.Metadata{i.made(t, named(1), day(1)), i.made(t, named(0), day(0))}
		for _, m := range list {
			if err := i.Copy(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		if err := i.Maintain(t.Context(), list, fine); err != nil {
			t.Error(err)
		}
		if !strings.Contains(i.said.String(), "it deletes nothing") {
			t.Errorf("it said:\n%s", i.said)
		}
	}
}

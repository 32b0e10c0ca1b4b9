package offsite

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

func TestACopyHoldsWhatWasSavedAndNothingInTheClear(t *testing.T) {
	i := newInstallation(t, folderStore(t))
	m := i.made(t, "20261101-020000", day(0))
	if err := i.Copy(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	copied := i.copied(t, m.Name)
	if err := copied.Verify(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	opened, err := copied.Unlock(t.Context(), []age.Identity{i.person})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, opened.Metadata); diff != "" {
		t.Errorf("its description (-want +got):\n%s", diff)
	}
	for _, name := range copied.FileNames() {
		want, err := os.ReadFile(filepath.Join(i.Dir, m.Name, name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(opened.Open(t.Context(), name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s has %d bytes instead of %d, or others: %v", name, len(got), len(want), err)
		}
	}
	escrow, err := opened.Escrow(t.Context())
	if err != nil || string(escrow.Secrets[0].Data["password"]) != secret {
		t.Errorf("the escrow holds %+v: %v", escrow, err)
	}
	for _, key := range keys(t, i.Store) {
		content, err := i.Store.Get(t.Context(), key, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, hidden := range []string{secret, "plain rows", "c2FsdA", "ZGlnZXN0", "channel_messages", m.Files[backup.DatabaseFile].SHA256} {
			if bytes.Contains(content, []byte(hidden)) {
				t.Errorf("%s holds %q in the clear", key, hidden)
			}
		}
	}
}

func TestADrillOpensAllButTheEscrow(t *testing.T) {
	i := newInstallation(t, folderStore(t))
	m := i.made(t, "20261101-020000", day(0))
	if err := i.Copy(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	opened, err := i.copied(t, m.Name).Unlock(t.Context(), []age.Identity{i.drill})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, opened.Open(t.Context(), backup.DatabaseFile)); err != nil {
		t.Error(err)
	}
	_, err = opened.Escrow(t.Context())
	wantFinding(t, err, finding.OffsiteIdentity, "escrow", "not encrypted for this identity")
	_, err = i.copied(t, m.Name).Unlock(t.Context(), []age.Identity{identity(t)})
	wantFinding(t, err, finding.OffsiteIdentity, m.Name, "recipients")
}

// failing is a store whose every write but the first few fails.
type failing struct {
	Store
	left   int
	writes []string
}

var errCut = errors.New("the connection was cut")

func (f *failing) Put(ctx context.Context, key string, content []byte) error {
	f.writes = append(f.writes, key)
	if f.left--; f.left < 0 {
		return errCut
	}
	return f.Store.Put(ctx, key, content)
}

func TestACopyThatWasCutOffIsContinued(t *testing.T) {
	store := &failing{Store: folderStore(t), left: 4}
	i := newInstallation(t, store)
	m := i.made(t, "20261101-020000", day(0))
	if err := i.Copy(t.Context(), m); !errors.Is(err, errCut) {
		t.Fatalf("want the cut, got %v", err)
	}
	listing, err := List(t.Context(), store, i.Release)
	if err != nil || len(listing.Copies) != 0 || !slices.Equal(listing.Incomplete, []string{m.Name}) {
		t.Errorf("listed as %+v: %v", listing, err)
	}
	_, err = Read(t.Context(), store, i.Release, m.Name)
	wantFinding(t, err, finding.OffsiteIncomplete, m.Name)

	before := keys(t, store)
	// One of the parts that are there is not whole.
	cut := filepath.Join(store.Store.String(), before[0])
	if err := os.Truncate(cut, 10); err != nil {
		t.Fatal(err)
	}
	store.left, store.writes = 100, nil
	if err := i.Copy(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	for _, key := range before[1:] {
		if slices.Contains(store.writes, key) {
			t.Errorf("%s was sent a second time", key)
		}
	}
	if !slices.Contains(store.writes, before[0]) {
		t.Errorf("%s was not sent again: %v", before[0], store.writes)
	}
	opened, err := i.copied(t, m.Name).Unlock(t.Context(), []age.Identity{i.person})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range opened.FileNames() {
		if _, err := io.Copy(io.Discard, opened.Open(t.Context(), name)); err != nil {
			t.Error(err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(i.Dir, ".copy-*")); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

// Copies that take longer than a run are completed one after the other.
func TestCopiesThatWereCutOffAreContinued(t *testing.T) {
	store := &failing{Store: folderStore(t), left: 4}
	i := newInstallation(t, store)
	cut, other := i.made(t, named(0), day(0)), i.made(t, named(1), day(1))
	if err := i.Copy(t.Context(), cut); !errors.Is(err, errCut) {
		t.Fatalf("want the cut, got %v", err)
	}
	store.left = 1
	if err := i.Continue(t.Context(), []backup.Metadata{other, cut}, fine); err != nil {
		t.Errorf("a copy that fails keeps newer backups from being copied: %v", err)
	}
	store.left = 100
	if err := i.Continue(t.Context(), []backup.Metadata{other, cut}, fine); err != nil {
		t.Fatal(err)
	}
	listing, err := List(t.Context(), store, i.Release)
	if err != nil || len(listing.Copies) != 1 || listing.Copies[0].Backup.Name != cut.Name {
		t.Errorf("listed as %+v: %v", listing, err)
	}
}

// worm is a store that replaces nothing, and whose answer to one write is lost.
type worm struct {
	Store
	left int
}

func (w *worm) Put(ctx context.Context, key string, content []byte) error {
	if _, err := w.Stat(ctx, key); err == nil {
		return hook.Refusef(finding.OffsiteLocked, "", "%s is locked", key)
	}
	err := w.Store.Put(ctx, key, content)
	if w.left--; w.left == 0 {
		return errors.Join(err, errCut)
	}
	return err
}

func TestALockedPartWhoseAnswerWasLost(t *testing.T) {
	i := newInstallation(t, &worm{Store: folderStore(t), left: 4})
	m := i.made(t, "20261101-020000", day(0))
	if err := i.Copy(t.Context(), m); !errors.Is(err, errCut) {
		t.Fatalf("want the cut, got %v", err)
	}
	wantFinding(t, i.Copy(t.Context(), m), finding.OffsiteLocked, "is locked")
	if err := i.Copy(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if err := i.copied(t, m.Name).Verify(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

func TestOtherRecipientsGetACopyOfTheirOwn(t *testing.T) {
	store := &failing{Store: folderStore(t), left: 4}
	i := newInstallation(t, store)
	m := i.made(t, "20261101-020000", day(0))
	if err := i.Copy(t.Context(), m); !errors.Is(err, errCut) {
		t.Fatalf("want the cut, got %v", err)
	}
	other := identity(t)
	var err error
	if i.Recipients, err = NewRecipients([]string{other.Recipient().String()}, nil); err != nil {
		t.Fatal(err)
	}
	store.left = 100
	if err := i.Copy(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	opened, err := i.copied(t, m.Name).Unlock(t.Context(), []age.Identity{other})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, opened.Open(t.Context(), backup.DatabaseFile)); err != nil {
		t.Error(err)
	}
}

func TestACompleteCopyIsLeftAlone(t *testing.T) {
	store := &failing{Store: folderStore(t), left: 100}
	i := newInstallation(t, store)
	m := i.made(t, "20261101-020000", day(0))
	for range 2 {
		if err := i.Copy(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(store.writes); n != 1+5+2+1+1 {
		t.Errorf("%d objects were written: %v", n, store.writes)
	}
	if last := store.writes[len(store.writes)-1]; !strings.HasSuffix(last, m.Name+"/backup.json") {
		t.Errorf("the description is not the last object, but %s", last)
	}
}

func TestAnotherInstallationsCopyIsNotReplaced(t *testing.T) {
	store := folderStore(t)
	first, second := newInstallation(t, store), newInstallation(t, store)
	m := first.made(t, "20261101-020000", day(0))
	if err := first.Copy(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	other := second.made(t, "20261101-020000", day(0).Add(time.Second))
	err := second.Copy(t.Context(), other)
	wantFinding(t, err, finding.OffsiteOther, "another cluster", "global.backup.s3.prefix")
	if _, err := first.copied(t, m.Name).Unlock(t.Context(), []age.Identity{first.person}); err != nil {
		t.Error(err)
	}
}

func TestDamagedCopies(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(t *testing.T, store *Folder, c *Copy)
		says   string
	}{
		{"a part is missing", func(t *testing.T, store *Folder, c *Copy) {
			if err := store.Delete(t.Context(), c.key(partName(c.Folder, backup.DatabaseFile, 1))); err != nil {
				t.Fatal(err)
			}
		}, "database.dump.00002.age is missing"},
		{"a part is cut off", func(t *testing.T, store *Folder, c *Copy) {
			if err := os.Truncate(filepath.Join(store.String(), c.key(partName(c.Folder, backup.DatabaseFile, 1))), 99); err != nil {
				t.Fatal(err)
			}
		}, "database.dump.00002.age has 99 B"},
		{"a part is another one", func(t *testing.T, store *Folder, c *Copy) {
			content, err := store.Get(t.Context(), c.key(partName(c.Folder, backup.DatabaseFile, 0)), 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if err := store.Put(t.Context(), c.key(partName(c.Folder, backup.DatabaseFile, 1)), content); err != nil {
				t.Fatal(err)
			}
		}, "database.dump.00002.age has"},
	} {
		t.Run(test.name, func(t *testing.T) {
			store := folderStore(t)
			i := newInstallation(t, store)
			m := i.made(t, "20261101-020000", day(0))
			if err := i.Copy(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			copied := i.copied(t, m.Name)
			test.damage(t, store, copied)
			wantFinding(t, copied.Verify(t.Context(), nil), finding.OffsiteDamaged, test.says)
			opened, err := copied.Unlock(t.Context(), []age.Identity{i.person})
			if err != nil {
				t.Fatal(err)
			}
			r := opened.Open(t.Context(), backup.DatabaseFile)
			_, err = io.Copy(io.Discard, r)
			wantFinding(t, err, finding.OffsiteDamaged, test.says)
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPartsInAnotherOrderAreFound(t *testing.T) {
	store := folderStore(t)
	i := newInstallation(t, store)
	m := i.made(t, "20261101-020000", day(0))
	if err := i.Copy(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	copied := i.copied(t, m.Name)
	opened, err := copied.Unlock(t.Context(), []age.Identity{i.person})
	if err != nil {
		t.Fatal(err)
	}
	// Who can write to the bucket can change the description as well, but not what the recipients' files say.
	parts := opened.Files[backup.DatabaseFile].Parts
	one, two := partName(copied.Folder, backup.DatabaseFile, 0), partName(copied.Folder, backup.DatabaseFile, 1)
	root := filepath.Join(store.String(), i.Release.folder(m.Name))
	for _, move := range [][2]string{{one, "x"}, {two, one}, {"x", two}} {
		if err := os.Rename(filepath.Join(root, move[0]), filepath.Join(root, move[1])); err != nil {
			t.Fatal(err)
		}
	}
	parts[0], parts[1] = parts[1], parts[0]
	_, err = io.Copy(io.Discard, opened.Open(t.Context(), backup.DatabaseFile))
	wantFinding(t, err, finding.OffsiteDamaged, "checksum of the file that was saved")
}

func TestDescriptionsFromOutside(t *testing.T) {
	store := folderStore(t)
	i := newInstallation(t, store)
	m := i.made(t, "20261101-020000", day(0))
	if err := i.Copy(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	key := i.Release.folder(m.Name) + DescriptionFile
	good, err := store.Get(t.Context(), key, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		old, new string
		id       finding.ID
	}{
		"newer format":    {`"format": 1`, `"format": 2`, finding.OffsiteFormat},
		"another name":    {`"name": "20261101-020000"`, `"name": "../../etc"`, finding.OffsiteDamaged},
		"another release": {`"release": "neutree"`, `"release": "other"`, finding.OffsiteDamaged},
		"another file":    {`"controller.db": {`, `"../passwd": {`, finding.OffsiteDamaged},
		"huge parts":      {`"partBytes": 1000`, `"partBytes": 99999999999`, finding.OffsiteDamaged},
		"no JSON":         {`{`, `x`, finding.OffsiteDamaged},
		"folder above":    {`"folder": "`, `"folder": "../`, finding.OffsiteDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			bad := strings.Replace(string(good), test.old, test.new, 1)
			if bad == string(good) {
				t.Fatalf("%s is not in the description", test.old)
			}
			if err := store.Put(t.Context(), key, []byte(bad)); err != nil {
				t.Fatal(err)
			}
			_, err := Read(t.Context(), store, i.Release, m.Name)
			wantFinding(t, err, test.id, m.Name)
			listing, err := List(t.Context(), store, i.Release)
			if err != nil || len(listing.Copies) != 0 || listing.Unreadable[m.Name] == nil {
				t.Errorf("listed as %+v: %v", listing, err)
			}
		})
	}
}

func TestRecipients(t *testing.T) {
	person := identity(t)
	_, err := NewRecipients([]string{person.String()}, nil)
	wantFinding(t, err, finding.OffsiteRecipient, "private key", "age-keygen -y")
	if strings.Contains(err.Error(), person.String()[20:]) {
		t.Errorf("the private key is in: %v", err)
	}
	_, err = NewRecipients([]string{"ssh-ed25519 AAAA"}, nil)
	wantFinding(t, err, finding.OffsiteRecipient, "begins with age1")
	_, err = NewRecipients(nil, nil)
	wantFinding(t, err, finding.OffsiteRecipient, "no recipient")
	quantum, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewRecipients([]string{quantum.Recipient().String()}, nil); err != nil {
		t.Error(err)
	}
	_, err = NewRecipients([]string{quantum.Recipient().String()}, []string{person.Recipient().String()})
	wantFinding(t, err, finding.OffsiteRecipient, "keys of one kind")
	_, err = ReadIdentities(strings.NewReader("AGE-SECRET-KEY-1NOT"), "key.txt")
	wantFinding(t, err, finding.OffsiteIdentity, "key.txt")
}

func TestReleases(t *testing.T) {
	store := folderStore(t)
	for _, namespace := range []string{"nap", "another"} {
		i := newInstallation(t, store)
		i.Release.Namespace = namespace
		if err := i.Copy(t.Context(), i.made(t, "first", day(0))); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Put(t.Context(), "lost+found/x", nil); err != nil {
		t.Fatal(err)
	}
	releases, err := Releases(t.Context(), store)
	if diff := cmp.Diff([]Release{{"another", "neutree"}, {"nap", "neutree"}}, releases); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	_, err = Read(t.Context(), store, Release{"nap", "neutree"}, "second")
	wantFinding(t, err, finding.OffsiteMissing, "no copy of backup second")
}

// A backup that came back from its copy counts as made by hand, and is not copied again.
func TestBackupThatCameBackIsNotAnother(t *testing.T) {
	store := folderStore(t)
	first, second := newInstallation(t, store), newInstallation(t, store)
	m := first.made(t, "scheduled-20261101-020000", day(0))
	if err := first.Copy(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	m.Kind, m.Job, m.Series = backup.Manual, "", ""
	if err := second.Copy(t.Context(), m); err != nil {
		t.Error(err)
	}
}

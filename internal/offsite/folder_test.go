package offsite

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

func TestFolder(t *testing.T) { testStore(t, folderStore(t)) }

// testStore holds a store to what Store promises.
func testStore(t *testing.T, store Store) {
	t.Helper()
	ctx := t.Context()
	for _, key := range []string{"a/b/1", "a/b/2", "a/c/1", "d"} {
		if err := store.Put(ctx, key, []byte("content of "+key)); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Put(ctx, "a/b/1", []byte("replaced")); err != nil {
		t.Fatal(err)
	}
	if got, err := store.Get(ctx, "a/b/1", 8); err != nil || string(got) != "replaced" {
		t.Errorf("read %q: %v", got, err)
	}
	if got, err := store.Get(ctx, "a/b/1", 7); !isTooLarge(err) {
		t.Errorf("read %q beyond the limit: %v", got, err)
	}
	if object, err := store.Stat(ctx, "a/b/2"); err != nil || object.Size != 16 || object.Modified.IsZero() {
		t.Errorf("it says %+v: %v", object, err)
	}
	_, err := store.Get(ctx, "a/b/3", 1)
	_, serr := store.Stat(ctx, "a/x/3")
	if !isMissing(err) || !isMissing(serr) {
		t.Errorf("a missing object is %v and %v", err, serr)
	}
	for _, test := range []struct {
		prefix string
		deep   bool
		want   []string
	}{
		{"", false, []string{"a/", "d"}},
		{"a/", false, []string{"a/b/", "a/c/"}},
		{"a/b/", false, []string{"a/b/1", "a/b/2"}},
		{"a/", true, []string{"a/b/1", "a/b/2", "a/c/1"}},
		{"x/", true, nil},
	} {
		var got []string
		for object, err := range store.List(ctx, test.prefix, test.deep) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, object.Key)
		}
		if diff := cmp.Diff(test.want, sorted(got)); diff != "" {
			t.Errorf("list of %q, deep %t (-want +got):\n%s", test.prefix, test.deep, diff)
		}
	}
	for range store.List(ctx, "a/", true) {
		break
	}
	for _, key := range []string{"a/b/1", "a/b/1", "a/b/2", "a/c/1", "d"} {
		if err := store.Delete(ctx, key); err != nil {
			t.Errorf("delete %s: %v", key, err)
		}
	}
	if left := keys(t, store); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
	for _, key := range []string{"../x", "/x", "a//b", ""} {
		if err := store.Put(ctx, key, nil); err == nil {
			t.Errorf("%q was written", key)
		}
	}
}

func TestAFolderStaysWithinItself(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write(t, filepath.Join(outside, "passwd"), []byte("secret"))
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	store, err := NewFolder(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close() //nolint:errcheck // It was only read.
	if got, err := store.Get(t.Context(), "link/passwd", 100); err == nil {
		t.Errorf("read %q", got)
	}
	if left := keys(t, store); len(left) > 0 {
		t.Errorf("%v is listed", left)
	}
}

func TestFoldersThatCanNotBeUsed(t *testing.T) {
	_, err := NewFolder(filepath.Join(t.TempDir(), "none"), "")
	wantFinding(t, err, finding.OffsiteBucket, "no such folder")
	for _, prefix := range []string{"..", "a/../../b", "a\nb"} {
		if _, err := NewFolder(t.TempDir(), prefix); hook.CodeOf(err) != hook.Usage {
			t.Errorf("prefix %q: %v", prefix, err)
		}
	}
	for code, id := range map[error]finding.ID{
		syscall.ENOSPC: finding.OffsiteFull, syscall.EDQUOT: finding.OffsiteFull, syscall.EROFS: finding.OffsiteAccess,
		syscall.EACCES: finding.OffsiteAccess, syscall.ESTALE: finding.OffsiteUnreachable, syscall.EIO: finding.OffsiteUnreachable,
	} {
		err := folderError("write", "/copies/x", &fs.PathError{Op: "write", Path: "/copies/x", Err: code})
		wantFinding(t, err, id, "write /copies/x")
	}
	if err := folderError("write", "/copies/x", errors.New("other")); hook.CodeOf(err) != hook.Unexpected {
		t.Error(err)
	}
}

package cache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func there(t *testing.T, path string) bool {
	t.Helper()
	found, err := Exists(path)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestDirKeepsOnlyWhatSucceeded(t *testing.T) {
	root := t.TempDir()
	entry := filepath.Join(root, "entry")
	broken := errors.New("broken")
	err := Dir(entry, func(temporary string) error {
		write(t, filepath.Join(temporary, "half"), "")
		return broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want the build's error", err)
	}
	if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
		t.Errorf("the failed build left %v, %v", left, err)
	}

	built := 0
	for range 2 {
		err := Dir(entry, func(temporary string) error {
			built++
			write(t, filepath.Join(temporary, "whole"), "")
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if built != 1 || !there(t, filepath.Join(entry, "whole")) {
		t.Errorf("built %d times; entry whole: %t", built, there(t, filepath.Join(entry, "whole")))
	}
}

func TestSweep(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, ".making-killed", "half"), "")
	write(t, filepath.Join(root, "entry", "whole"), "")
	if err := Sweep(root); err != nil {
		t.Fatal(err)
	}
	if there(t, filepath.Join(root, ".making-killed")) || !there(t, filepath.Join(root, "entry", "whole")) {
		t.Error("sweep must remove the half entry and keep the whole one")
	}
}

func TestExpire(t *testing.T) {
	root := t.TempDir()
	key := func(char string) string { return strings.Repeat(char, keyLength) }
	entries := map[string]struct {
		age  time.Duration
		stay bool
	}{
		"image-" + key("a"):       {age: 5 * time.Hour, stay: true}, // in use
		"image-" + key("b"):       {age: 5 * time.Hour, stay: false},
		"image-" + key("c"):       {age: time.Minute, stay: true},
		"image-other-" + key("d"): {age: 5 * time.Hour, stay: true}, // another name
	}
	for name, entry := range entries {
		path := filepath.Join(root, name)
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		used := time.Now().Add(-entry.age)
		if err := os.Chtimes(path, used, used); err != nil {
			t.Fatal(err)
		}
	}
	if err := Expire(root, "image", key("a"), time.Hour); err != nil {
		t.Fatal(err)
	}
	for name, entry := range entries {
		if got := there(t, filepath.Join(root, name)); got != entry.stay {
			t.Errorf("%s, last used %s ago: there %t, want %t", name, entry.age, got, entry.stay)
		}
	}
	info, err := os.Stat(filepath.Join(root, "image-"+key("a")))
	if err != nil || time.Since(info.ModTime()) > time.Hour {
		t.Errorf("the use was not noted: %v, %v", info, err)
	}
}

func TestKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "go.sum")
	withFile := func(content string) string {
		write(t, path, content)
		key := NewKey()
		if err := key.AddFile(path); err != nil {
			t.Fatal(err)
		}
		return key.String()
	}
	if NewKey().Add("ab", "c").String() == NewKey().Add("a", "bc").String() {
		t.Error("boundaries do not count")
	}
	if first := withFile("one"); first == withFile("two") || first != withFile("one") {
		t.Error("the key must follow the file's content and nothing else")
	}
	if err := NewKey().AddFile(path + ".gone"); err == nil || !strings.Contains(err.Error(), "go.sum.gone") {
		t.Errorf("got %v, want the missing file's name", err)
	}
}

func TestLockIsHeldByOne(t *testing.T) {
	root := t.TempDir()
	release, err := Lock(t.Context(), root, "build")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Lock(ctx, root, "build"); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "another testbed") {
		t.Errorf("got %v, want the wait to end with the context and to say for whom it waited", err)
	}
	release()
	release, err = Lock(t.Context(), root, "build")
	if err != nil {
		t.Fatal(err)
	}
	release()
}

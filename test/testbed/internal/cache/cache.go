// Package cache keeps what is costly to make. An entry's key is a digest of everything it is made from, so an entry
// is never out of date: another input is another entry.
package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// Lock takes the lock called name in dir, which one process at a time can hold, and waits for it as long as ctx lives.
// What it returns releases it.
func Lock(ctx context.Context, dir, name string) (func(), error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	path := filepath.Join(dir, name+".lock")
	lock := flock.New(path)
	if _, err := lock.TryLockContext(ctx, 200*time.Millisecond); err != nil {
		return nil, fmt.Errorf("wait for another testbed to release %s: %w", path, err)
	}
	return func() { _ = lock.Unlock() }, nil
}

// Exists reports whether the finished entry at path is there.
func Exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Dir is the directory entry at path. Where it does not exist yet, build fills a temporary directory that becomes
// the entry only when build succeeds, so a killed build leaves no half of one. The caller holds the lock.
func Dir(path string, build func(temporary string) error) error {
	found, err := Exists(path)
	if err != nil || found {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	temporary, err := os.MkdirTemp(filepath.Dir(path), ".making-")
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	defer os.RemoveAll(temporary)
	if err := build(temporary); err != nil {
		return err
	}
	if err := os.Chmod(temporary, 0o755); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	return nil
}

// Sweep removes what killed builds left in dir. The caller holds the lock.
func Sweep(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, ".making-*"))
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	for _, path := range left {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("cache: %w", err)
		}
	}
	return nil
}

// Expire notes that the entry <name>-<key> in dir is in use, and removes those of the same name with another key that
// nobody used for as long as age. The caller holds the lock.
func Expire(dir, name, key string, age time.Duration) error {
	used := filepath.Join(dir, name+"-"+key)
	now := time.Now()
	if err := os.Chtimes(used, now, now); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	entries, err := filepath.Glob(filepath.Join(dir, name+"-"+strings.Repeat("[0-9a-f]", keyLength)))
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	for _, entry := range entries {
		info, err := os.Stat(entry)
		if err != nil {
			return fmt.Errorf("cache: %w", err)
		}
		if entry == used || now.Sub(info.ModTime()) < age {
			continue
		}
		if err := os.RemoveAll(entry); err != nil {
			return fmt.Errorf("cache: %w", err)
		}
	}
	return nil
}

// keyLength is the length of a key's string.
const keyLength = 16

// Key is made by adding, in a fixed order, everything that an entry is made from.
type Key struct{ sum hash.Hash }

// NewKey starts a key.
func NewKey() *Key { return &Key{sum: sha256.New()} }

// Add mixes values into the key. Their boundaries count: "ab","c" is not "a","bc".
func (k *Key) Add(values ...string) *Key {
	for _, value := range values {
		fmt.Fprintf(k.sum, "%d:%s;", len(value), value)
	}
	return k
}

// AddFile mixes a file's name and content into the key.
func (k *Key) AddFile(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cache key: %w", err)
	}
	defer file.Close()
	content := sha256.New()
	if _, err := io.Copy(content, file); err != nil {
		return fmt.Errorf("cache key: read %s: %w", path, err)
	}
	k.Add(filepath.Base(path), hex.EncodeToString(content.Sum(nil)))
	return nil
}

// String is the key in a form short enough for a path.
func (k *Key) String() string { return hex.EncodeToString(k.sum.Sum(nil))[:keyLength] }

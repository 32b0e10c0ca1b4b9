// Package offsite keeps copies of backups outside the cluster: in a bucket of an S3 service, or in a folder of another
// volume. What a copy holds is encrypted with age for public keys; who can read the bucket learns when which release
// was backed up, and how large it was.
//
// A copy is in <namespace>.<release>/<name of the backup>/. Its description, backup.json, is in the clear and is
// written last: without it the copy is incomplete. The folder next to it, whose name is random, has the encrypted
// files:
//
//	backup.json.00001.age        the backup's own description, which recognises the encryption key
//	database.dump.00001.age, …   the dump, in parts of 16 MiB, each of which is an age file
//	controller.db.00001.age, …   AFS's database
//	escrow.age                   the release's Secrets and values, for the recipients alone
package offsite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"regexp"
	"strings"
	"time"

	"github.com/neutree-ai/packaging/internal/hook"
)

// Store is a place for copies. Keys are relative to it, with slashes, and every object is small enough to be held in
// memory. What a store refuses is a finding; an object that is not there is fs.ErrNotExist.
type Store interface {
	// String is where the copies are, such as s3://bucket/prefix. It holds no secret.
	String() string
	// Put writes an object, whole or not at all.
	Put(ctx context.Context, key string, content []byte) error
	// Get reads an object, and refuses one of more than limit bytes.
	Get(ctx context.Context, key string, limit int64) ([]byte, error)
	// Stat says what List says of one object.
	Stat(ctx context.Context, key string) (Object, error)
	// List goes through the objects below prefix, which is empty or ends with a slash. Unless deep is set, those in
	// folders below it are left out, and the folders are listed, with a slash at the end of their keys. It ends with an
	// error.
	List(ctx context.Context, prefix string, deep bool) iter.Seq2[Object, error]
	// Delete removes an object. One that is not there is no error.
	Delete(ctx context.Context, key string) error
}

// Object is what a store says of one object, or of a folder.
type Object struct {
	Key      string
	Size     int64
	Modified time.Time
}

// IsFolder says whether it is a folder.
func (o Object) IsFolder() bool { return strings.HasSuffix(o.Key, "/") }

// Release is an installation whose backups are in a store.
type Release struct{ Namespace, Name string }

// String is the name of its folder. A namespace has no dot.
func (r Release) String() string { return r.Namespace + "." + r.Name }

// folder is where copies of the backup called name are.
func (r Release) folder(name string) string { return r.String() + "/" + name + "/" }

var releasePattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.[a-z0-9]([-.a-z0-9]{0,51}[a-z0-9])?$`)

// ParseRelease reads the name of a release's folder.
func ParseRelease(folder string) (Release, bool) {
	namespace, name, _ := strings.Cut(folder, ".")
	return Release{Namespace: namespace, Name: name}, releasePattern.MatchString(folder)
}

// tooLargeError is about an object that is larger than one of its kind can be.
type tooLargeError struct {
	key   string
	limit int64
}

func (e *tooLargeError) Error() string {
	return fmt.Sprintf("%s is larger than %d bytes", e.key, e.limit)
}

// isTooLarge says whether err is about such an object.
func isTooLarge(err error) bool {
	var large *tooLargeError
	return errors.As(err, &large)
}

// checkKey refuses a key that leads out of a folder. Keys are made of names that were checked, so this is for mistakes.
func checkKey(key string) error {
	if !fs.ValidPath(key) || key == "." {
		return fmt.Errorf("%q is no name of an object", key)
	}
	return nil
}

// CleanPrefix checks the folder in a bucket or volume that all copies are in, and removes slashes at its ends.
func CleanPrefix(prefix string) (string, error) {
	prefix = strings.Trim(prefix, "/")
	if prefix != "" && (!fs.ValidPath(prefix) || prefix == "." || strings.ContainsFunc(prefix, func(r rune) bool {
		return r < 0x20 || r == 0x7f || r == '\\'
	})) {
		return "", hook.Errorf(hook.Usage, "the prefix %q is no path such as backups/production", prefix)
	}
	return prefix, nil
}

// isMissing says whether err is about an object that is not there.
func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

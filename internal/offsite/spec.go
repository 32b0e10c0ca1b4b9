package offsite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

// Copies makes the copies that a spec asks for. What is wrong with the store, or with the credentials for it, is found
// when the first copy is made: before that a backup must be complete.
type Copies struct {
	Log  *slog.Logger
	Spec hook.BackupSpec
}

var _ backup.Copies = Copies{}

// String is where the copies are.
func (c Copies) String() string {
	if s3 := c.Spec.Copies.S3; s3 != nil {
		return "s3://" + path.Join(s3.Bucket, strings.Trim(s3.Prefix, "/"))
	}
	return path.Join(c.Spec.Copies.Dir, strings.Trim(c.Spec.Copies.Prefix, "/"))
}

// Continue completes copies of those of list that were cut off.
func (c Copies) Continue(ctx context.Context, list []backup.Metadata,
	check func(context.Context, backup.Metadata) error,
) error {
	return c.with(func(copier *Copier) error { return copier.Continue(ctx, list, check) })
}

// Copy copies a backup, unless there is a complete copy of it.
func (c Copies) Copy(ctx context.Context, m backup.Metadata) error {
	return c.with(func(copier *Copier) error { return copier.Copy(ctx, m) })
}

// Prune deletes copies beyond the retention.
func (c Copies) Prune(ctx context.Context, list []backup.Metadata) error {
	return c.with(func(copier *Copier) error { return copier.Prune(ctx, list) })
}

// Maintain copies those of list that have no copy, and deletes copies beyond the retention.
func (c Copies) Maintain(ctx context.Context, list []backup.Metadata,
	check func(context.Context, backup.Metadata) error,
) error {
	return c.with(func(copier *Copier) error { return copier.Maintain(ctx, list, check) })
}

func (c Copies) with(do func(*Copier) error) error {
	spec := c.Spec.Copies
	recipients, err := NewRecipients(spec.Recipients, spec.DrillRecipients)
	if err != nil {
		return err
	}
	var store Store
	if spec.S3 != nil {
		store, err = openS3(c.Log, *spec.S3)
	} else {
		var folder *Folder
		if folder, err = NewFolder(spec.Dir, spec.Prefix); err == nil {
			defer folder.Close() //nolint:errcheck // Files in it are synced.
			store = folder
		}
	}
	if err != nil {
		return err
	}
	escrow := Escrow{Namespace: c.Spec.Namespace, Release: c.Spec.Release, Chart: c.Spec.Chart, Revision: c.Spec.Revision}
	return do(&Copier{
		Log: c.Log, Store: store, Dir: c.Spec.Dir, Release: Release{Namespace: c.Spec.Namespace, Name: c.Spec.Release},
		Recipients: recipients, Retention: spec.Retention,
		Escrow: func() (Escrow, error) { return readEscrow(spec.Escrow, escrow) },
	})
}

// The files of the Secret with the credentials, where it is mounted.
const (
	accessKeyFile    = "access-key"
	secretKeyFile    = "secret-key"
	sessionTokenFile = "session-token"
)

func openS3(log *slog.Logger, spec hook.S3Spec) (*S3, error) {
	var ca []byte
	for _, file := range spec.CA {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, hook.Refusef(finding.OffsiteCertificate, "create the Secret that global.backup.s3.caSecret names",
				"the CA certificates for %s can't be read: %v", spec.Endpoint, err)
		}
		ca = append(append(ca, content...), '\n')
	}
	return NewS3(S3Options{
		Endpoint: spec.Endpoint, PlainHTTP: spec.PlainHTTP, Region: spec.Region, Bucket: spec.Bucket, Prefix: spec.Prefix,
		PathStyle: spec.PathStyle, CA: ca, Log: log,
		Credentials: func() (S3Credentials, error) { return readCredentials(spec) },
	})
}

func readCredentials(spec hook.S3Spec) (S3Credentials, error) {
	var c S3Credentials
	for file, into := range map[string]*string{
		accessKeyFile: &c.AccessKey, secretKeyFile: &c.SecretKey, sessionTokenFile: &c.SessionToken,
	} {
		content, err := os.ReadFile(filepath.Join(spec.Credentials, file))
		if errors.Is(err, fs.ErrNotExist) && file == sessionTokenFile {
			continue
		}
		if errors.Is(err, fs.ErrNotExist) {
			return c, hook.Refusef(finding.OffsiteCredentials,
				"create the Secret with the keys that global.backup.s3.accessKeyKey and secretKeyKey name",
				"Secret %s has no %s for %s, or does not exist", spec.Secret, strings.ReplaceAll(file, "-", " "), spec.Endpoint)
		}
		if err != nil {
			return c, fmt.Errorf("read the credentials of Secret %s: %w", spec.Secret, err)
		}
		*into = strings.TrimSpace(string(content))
	}
	return c, nil
}

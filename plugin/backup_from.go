package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"filippo.io/age"
	"github.com/spf13/pflag"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/offsite"
	"github.com/neutree-ai/packaging/internal/restorefrom"
)

// fromFlags say where copies outside the cluster are, and what decrypts them.
type fromFlags struct {
	restorefrom.Location
	identity string
}

// add adds the flags. A command that reads only what is in the clear needs no identity.
func (f *fromFlags) add(flags *pflag.FlagSet, identity bool) {
	flags.StringVar(&f.From, "from", "", "where the copies are: s3://bucket/prefix or a folder")
	flags.StringVar(&f.Endpoint, "endpoint", "", "address of the S3 service; empty: AWS_ENDPOINT_URL, or AWS itself")
	flags.StringVar(&f.Region, "region", "", "region of the bucket; empty: AWS_REGION")
	flags.StringVar(&f.CAFile, "ca-file", "", "file with CA certificates of the S3 service, in addition to the public ones")
	flags.StringVar(&f.PathStyle, "path-style", "",
		"true or false: whether the bucket's name is in the path of addresses; empty: as usual")
	flags.BoolVar(&f.PlainHTTP, "plain-http", false, "admit an S3 service without TLS")
	flags.StringVar(&f.Credentials, "s3-credentials", "",
		"credentials file as of the AWS command line; empty: AWS_ACCESS_KEY_ID and so on")
	flags.StringVar(&f.Profile, "s3-profile", "", "profile in that file")
	if identity {
		flags.StringVar(&f.identity, "identity", "", "file with the private key of age, or - for standard input")
	}
}

// needFrom refuses flags that say nothing without --from: those of stores, and the others that are named.
func needFrom(flags *pflag.FlagSet, others ...string) error {
	names := []string{"endpoint", "region", "ca-file", "path-style", "plain-http", "s3-credentials", "s3-profile"}
	for _, name := range append(names, others...) {
		if flag := flags.Lookup(name); flag != nil && flag.Changed {
			return hook.Errorf(hook.Usage, "--%s goes with --from", name)
		}
	}
	return nil
}

// copyOf finds a copy. It asks nothing of a cluster.
func (f *fromFlags) copyOf(ctx context.Context, log *slog.Logger, release, name string) (*offsite.Copy, error) {
	store, err := f.Open(log)
	if err != nil {
		return nil, err
	}
	return restorefrom.Find(ctx, store, release, name)
}

// identities reads what decrypts copies. It stays in memory.
func (f *fromFlags) identities(in io.Reader) ([]age.Identity, error) {
	if f.identity == "" {
		return nil, nil
	}
	if f.identity == "-" {
		return offsite.ReadIdentities(in, "standard input")
	}
	file, err := os.Open(f.identity)
	if err != nil {
		return nil, hook.Errorf(hook.Usage, "read the identity: %w", err)
	}
	defer file.Close() //nolint:errcheck // It was only read.
	return offsite.ReadIdentities(file, f.identity)
}

// unlock finds a copy and decrypts its description.
func (f *fromFlags) unlock(ctx context.Context, log *slog.Logger, in io.Reader, release, name string) (
	*offsite.Opened, error) {
	if f.identity == "" {
		return nil, hook.Errorf(hook.Usage,
			"--identity is missing: name the file with the private key of age, or - for standard input")
	}
	identities, err := f.identities(in)
	if err != nil {
		return nil, err
	}
	found, err := f.copyOf(ctx, log, release, name)
	if err != nil {
		return nil, err
	}
	log.Info("reading the copy", "backup", found.Backup.Name, "of", found.Backup.Time.UTC().Format("2006-01-02T15:04:05Z"),
		"chart", cmp.Or(found.Backup.Chart, "unknown"))
	opened, err := found.Unlock(ctx, identities)
	if err != nil {
		return nil, fmt.Errorf("open the copy of backup %s: %w", found.Backup.Name, err)
	}
	return opened, nil
}

// outside runs what needs no cluster.
func (o *backupOptions) outside(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	return hook.Stopped(ctx, do(ctx))
}

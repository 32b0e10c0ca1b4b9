package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/images"
	"github.com/neutree-ai/packaging/internal/plain"
)

const imagesMirrorHelp = `Copy the images of a lock file to a registry, and write the chart values that name it.

Each image is copied by its digest, under the same path and tag, for all of its platforms, with the signatures, SBOMs
and attestations that refer to it. HOST can have a path: registry.example.com/mirror. What the registry has is not sent
again, so a copy that was interrupted continues when the command is run again.

Name your pull Secrets in addition: global.imagePullSecrets, and
cloudnative-pg.imagePullSecrets for the operator.

Credentials are those that docker login has stored, unless --src-auth-file or --dst-auth-file names a file. Proxies are
those of HTTPS_PROXY and NO_PROXY.

Exit codes: 0 all was copied; 2 an image could not be copied, while the others were; 124 --timeout ended first; 1
anything else.`

const imagesMirrorExample = `  helm neutree images mirror images.lock.yaml registry.example.com -o registry.yaml
  helm neutree images mirror images.lock.yaml registry.example.com/mirror --jobs 8 --dst-auth-file push.json`

// mirrorFlags are those of images mirror.
type mirrorFlags struct {
	from, to  images.Access
	caFile    string
	plainHTTP []string
	output    string
	jobs      int
	timeout   time.Duration
}

func newImagesMirrorCommand() *cobra.Command {
	flags := &mirrorFlags{}
	cmd := &cobra.Command{
		Use:     "mirror LOCK HOST",
		Short:   "Copy the images of a lock file to a registry",
		Long:    imagesMirrorHelp,
		Example: imagesMirrorExample,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), flags.timeout)
			defer cancel()
			return hook.Stopped(ctx, mirrorImages(ctx, cmd, args[0], args[1], flags))
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.from.AuthFile, "src-auth-file", "",
		"file with credentials for the registries that the images come from, as docker's config.json")
	f.StringVar(&flags.to.AuthFile, "dst-auth-file", "", "file with credentials for HOST")
	f.StringVarP(&flags.output, "output", "o", "", "file to write the values to; default: standard output")
	f.StringVar(&flags.caFile, "ca-file", "", "file with CA certificates to trust besides the system's")
	f.StringSliceVar(&flags.plainHTTP, "plain-http", nil, "HOST:PORT of a registry that is asked by HTTP; can be repeated")
	f.IntVar(&flags.jobs, "jobs", 4, "how many images are copied at a time")
	f.DurationVar(&flags.timeout, "timeout", 6*time.Hour, "give up after this long")
	return cmd
}

func mirrorImages(ctx context.Context, cmd *cobra.Command, path, host string, flags *mirrorFlags) error {
	lock, err := images.ReadLock(path)
	if err != nil {
		return err
	}
	if err := images.CheckHost(host); err != nil {
		return err
	}
	for _, access := range []*images.Access{&flags.from, &flags.to} {
		access.CAFile, access.PlainHTTP = flags.caFile, flags.plainHTTP
	}
	from, err := flags.from.Open()
	if err != nil {
		return err
	}
	to, err := flags.to.Open()
	if err != nil {
		return err
	}
	talk := plain.Writer(cmd.ErrOrStderr())
	copier := images.Mirror{From: from, To: to, Host: host, Jobs: flags.jobs,
		Done: func(from, to string) { fmt.Fprintf(talk, "%s is at %s\n", from, to) }}
	if err := copier.Copy(ctx, lock); err != nil {
		return err
	}
	fmt.Fprintf(talk, "all %d images are there; bytes of layers that were sent: %d\n", len(lock.Images), to.Sent())
	var values bytes.Buffer
	if err := lock.WriteMirrorValues(&values, host); err != nil {
		return err
	}
	return writeOutput(cmd, flags.output, values.Bytes())
}

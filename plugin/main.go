// Command helm-neutree is the Helm plugin `helm neutree`.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/helmenv"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/plain"
)

func main() {
	// A reader that goes away must not end a command before it has cleaned up: writing fails instead.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	// The first signal lets a command clean up, the second ends it at once.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRootCommand(helmenv.New(stderr))
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		// A command that has reported the outcome itself returns a bare exit code.
		var code exitCode
		if errors.As(err, &code) {
			return int(code)
		}
		fmt.Fprintf(stderr, "Error: %s\n", plain.Text(err.Error()))
		return statusOf(err)
	}
	return 0
}

// connect connects to the cluster that the person gave to Helm.
func connect(settings *helmenv.Settings) (*kube.Client, error) {
	config, err := settings.Connect()
	if err != nil {
		return nil, err
	}
	return kube.NewForConfig(config)
}

// statusOf is the exit code that an error asks for.
func statusOf(err error) int {
	switch hook.CodeOf(err) {
	case hook.Usage, hook.Refused, hook.Busy, hook.MigrationFailed:
		return 2
	case hook.HalfRestored:
		return 3
	case hook.Deadline:
		return 124
	}
	return 1
}

// exitCode ends the command with it and prints nothing more.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// warn prints an error that ends nothing. It can contain what the API server says of objects of others.
func warn(w io.Writer, err error) {
	fmt.Fprintf(w, "Warning: %s\n", plain.Text(err.Error()))
}

func newRootCommand(settings *helmenv.Settings) *cobra.Command {
	root := &cobra.Command{
		Use:           "neutree",
		Short:         "Install and operate the Neutree Agent Platform",
		Example:       "  helm neutree preflight neutree ./charts/neutree -n nap -f values.yaml",
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "helm neutree"},
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	// Helm completes plugins by other means than cobra's scripts.
	root.CompletionOptions.DisableDefaultCmd = true
	settings.AddFlags(root.PersistentFlags())
	root.AddCommand(newBackupCommand(settings), newImagesCommand(settings), newPreflightCommand(settings), newRBACCommand(settings),
		newRecoverCommand(settings), newSecretsCommand(settings), newVersionCommand())
	return root
}

// Command nap-hooks is what the chart's Jobs and init containers run: it makes Secrets, guards an
// install, brings up the database, migrates and seeds it, and stops the platform before an uninstall.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
	_ "time/tzdata" // The image has no time zones either, and a schedule may name one.

	"github.com/spf13/cobra"
	// The image holds nothing but this program, and a database may have a certificate of a public authority.
	_ "golang.org/x/crypto/x509roots/fallback"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/version"
)

func main() {
	boundMemory("/sys/fs/cgroup")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o := &hook.Options{LogFormat: "json"}
	root := newRootCommand(o)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if !o.Started() && hook.CodeOf(err) == hook.Unexpected {
		err = hook.Errorf(hook.Usage, "%w; run nap-hooks --help", err)
	}
	return o.Finish(err, stderr)
}

func newRootCommand(o *hook.Options) *cobra.Command {
	root := &cobra.Command{
		Use:           "nap-hooks",
		Short:         "Install, migrate and stop the Neutree Agent Platform from inside the cluster",
		Version:       version.Get().String(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	flags := root.PersistentFlags()
	flags.DurationVar(&o.Timeout, "timeout", 5*time.Minute, "give up after this long")
	flags.StringVar(&o.LogFormat, "log-format", "json", "json, text or plain")
	flags.StringVar(&o.TerminationLog, "termination-log", "/dev/termination-log", "file that gets the outcome in one sentence, if it exists")
	root.AddCommand(
		newBackupCommand(o),
		newBootstrapCommand(o),
		newCopyCommand(o),
		newDeleteCommand(o),
		newFrontCommand(o),
		newGuardCommand(o),
		newInstallCommand(o),
		newMigrateCommand(o),
		newPrepareCommand(o),
		newProbeCommand(o),
		newRebuildCommand(o),
		newRollbackCommand(o),
		newRotateCommand(o),
		newSeedCommand(o),
		newTeardownCommand(o),
		newTestCommand(o),
		newWaitCommand(o),
	)
	return root
}

// specFlag adds --spec to cmd.
func specFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVar(path, "spec", "", "YAML file that says what to do")
}

// requireFlags refuses a command line on which one of the flags is missing or empty.
func requireFlags(cmd *cobra.Command, names ...string) {
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		for _, name := range names {
			if cmd.Flag(name).Value.String() == "" {
				return hook.Errorf(hook.Usage, "--%s is missing", name)
			}
		}
		return nil
	}
}

// Command helm-neutree is the Helm plugin `helm neutree`.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintf(stderr, "Error: %v\n", err)
		return 1
	}
	return 0
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "neutree",
		Short:         "Install and operate the Neutree Agent Platform",
		Example:       "  helm neutree version",
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "helm neutree"},
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	// Helm completes plugins by other means than cobra's scripts.
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(newVersionCommand())
	return root
}

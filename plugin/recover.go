package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/helmenv"
	"github.com/neutree-ai/packaging/internal/plain"
	"github.com/neutree-ai/packaging/internal/recover"
)

func newRecoverCommand(settings *helmenv.Settings) *cobra.Command {
	var yes, stop bool
	cmd := &cobra.Command{
		Use:   "recover RELEASE",
		Short: "Explain and fix a release that a killed Helm client left pending",
		Long: `Explain and fix a release that a killed Helm client left pending.

A Helm client that is killed, or loses the cluster, leaves its revision pending, and every later upgrade or rollback ends
with "another operation is in progress". This command says since when, and what of it still runs; if nothing does, it
marks the revision failed, so that the next helm upgrade or helm rollback begins. Objects of the platform are not touched.
With --stop, hooks that still run are ended first: a migration that one of them is applying is rolled back.

Exit codes: 0 fixed, or nothing to fix; 1 failed; 2 refused, since a hook still runs, or not confirmed.`,
		Example: "  helm neutree recover neutree -n nap\n  helm neutree recover neutree -n nap --yes",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := connect(settings)
			if err != nil {
				return err
			}
			talk := plain.Writer(cmd.ErrOrStderr())
			found, err := recover.Find(cmd.Context(), client, settings.Namespace(), args[0])
			if err != nil {
				return err
			}
			if !found.Pending() {
				fmt.Fprintf(talk, "Release %s in namespace %s is %s, revision %d: there is nothing to fix.\n",
					found.Release, found.Namespace, found.Status, found.Revision)
				return nil
			}
			if err := found.Explain(talk, time.Now()); err != nil {
				return err
			}
			if (len(found.Running) == 0 || stop) && !yes {
				question := "Mark the revision failed?"
				if len(found.Running) > 0 {
					question = "Stop its hooks and mark the revision failed?"
				}
				if err := ask(cmd.InOrStdin(), talk, "If a helm command still runs somewhere, stop it first. "+question); err != nil {
					return err
				}
			}
			if stop && len(found.Running) > 0 {
				err = found.Stop(cmd.Context(), slog.New(slog.DiscardHandler), client)
			}
			if err == nil {
				err = found.MarkFailed(cmd.Context(), client)
			}
			switch {
			case errors.Is(err, recover.ErrBusy):
				fmt.Fprintf(talk, "Error: %v\n", err)
				return exitCode(2)
			case err != nil:
				return err
			}
			_, err = fmt.Fprintf(talk, "Revision %d is marked failed.\n%s\n", found.Revision, found.Next())
			return err
		},
	}
	cmd.Flags().BoolVar(&stop, "stop", false, "end hooks that still run")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// ask returns nil if the person answers yes. Otherwise the command ends, and has changed nothing.
func ask(in io.Reader, talk io.Writer, question string) error {
	fmt.Fprintf(talk, "%s [y/N] ", question)
	answer, _ := bufio.NewReader(in).ReadString('\n')
	if strings.ToLower(strings.TrimSpace(answer)) != "y" {
		fmt.Fprintln(talk, "Nothing was changed.")
		return exitCode(2)
	}
	return nil
}

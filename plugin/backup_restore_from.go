package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/offsite"
	"github.com/neutree-ai/packaging/internal/plain"
	"github.com/neutree-ai/packaging/internal/podexec"
	"github.com/neutree-ai/packaging/internal/progress"
	"github.com/neutree-ai/packaging/internal/restorefrom"
)

// restoreFromFlags are those of a restore from a copy.
type restoreFromFlags struct {
	fromFlags
	restorefrom.Options
	chart, chartVersion string
	values, valuesOut   string
	dryRun, yes         bool
}

// fromOnly are the flags of a restore that say nothing without --from.
var fromOnly = []string{"identity", "chart", "version", "values", "values-out", "no-install", "keep-secrets", "dry-run"}

func (f *restoreFromFlags) addAll(flags *pflag.FlagSet) {
	f.add(flags, true)
	flags.StringVar(&f.chart, "chart", "", "chart to install: a directory, an archive, REPOSITORY/CHART or an oci:// address; "+
		"empty: the one that came with this plugin")
	flags.StringVar(&f.chartVersion, "version", "", "version of a chart from a repository or registry")
	flags.StringVarP(&f.values, "values", "f", "", "values file to install with, instead of the saved values")
	flags.StringVar(&f.valuesOut, "values-out", "", "write the saved values to this file, to edit them, and end")
	flags.BoolVar(&f.NoInstall, "no-install", false, "end after the Secrets are created if the release is not installed")
	flags.BoolVar(&f.KeepSecrets, "keep-secrets", false, "keep Secrets that have other values than the backup's")
	flags.BoolVar(&f.dryRun, "dry-run", false, "show what would be done, and change nothing")
}

func (f *restoreFromFlags) run(cmd *cobra.Command, o *backupOptions, name string) error {
	log := progress.New(cmd.ErrOrStderr())
	return o.outside(cmd.Context(), func(ctx context.Context) error {
		opened, err := f.unlock(ctx, log, cmd.InOrStdin(), o.release, name)
		if err != nil {
			return err
		}
		escrow, err := opened.Escrow(ctx)
		if err != nil {
			return err
		}
		restore, remove, err := f.restore(cmd, o, log, opened, escrow)
		if err != nil {
			return err
		}
		defer remove()
		if f.valuesOut != "" {
			values, err := restore.SavedValues(ctx)
			if err != nil {
				return err
			}
			return writeNew(f.valuesOut, values)
		}
		return f.carryOut(ctx, cmd, log, restore)
	})
}

// restore prepares the restore. remove removes a chart that was downloaded for it.
func (f *restoreFromFlags) restore(cmd *cobra.Command, o *backupOptions, log *slog.Logger, opened *offsite.Opened,
	escrow offsite.Escrow) (restore *restorefrom.Restore, remove func(), err error) {
	if f.values != "" {
		if f.Values, err = os.ReadFile(f.values); err != nil {
			return nil, nil, hook.Errorf(hook.Usage, "read the values: %w", err)
		}
	}
	dir, err := os.MkdirTemp("", "neutree-chart")
	if err != nil {
		return nil, nil, err
	}
	remove = func() { _ = os.RemoveAll(dir) }
	restore = &restorefrom.Restore{
		Log: log, Namespace: o.settings.Namespace(), Copy: opened, Escrow: escrow, Options: f.Options,
		Helm: restorefrom.Program{Env: o.settings.Environ(), Talk: plain.Writer(cmd.ErrOrStderr())},
		Chart: func(ctx context.Context) (string, error) {
			return chart.Locate(ctx, f.chart, f.chartVersion, dir)
		},
	}
	if f.valuesOut != "" {
		return restore, remove, nil
	}
	config, err := o.settings.Connect()
	if err == nil {
		restore.Exec = podexec.New(config)
		restore.Client, err = kube.NewForConfig(config)
	}
	if err != nil {
		remove()
		return nil, nil, err
	}
	return restore, remove, nil
}

// carryOut shows what is to be done, asks, and does it.
func (f *restoreFromFlags) carryOut(ctx context.Context, cmd *cobra.Command, log *slog.Logger,
	restore *restorefrom.Restore) error {
	plan, err := restore.Prepare(ctx)
	if err != nil {
		return err
	}
	talk := plain.Writer(cmd.ErrOrStderr())
	if err := plan.Write(talk); err != nil {
		return err
	}
	if f.dryRun {
		if plan.Chart != "" {
			_, err = plain.Writer(cmd.OutOrStdout()).Write(plan.Values)
		}
		return err
	}
	if !f.yes {
		if err := confirm(cmd.InOrStdin(), cmd.ErrOrStderr(), plan.Release, plan.Backup); err != nil {
			return err
		}
	}
	result, err := restore.Run(ctx, plan)
	if err != nil {
		return err
	}
	log.Info(result)
	for _, one := range plan.Files.Missing() {
		log.Info("not restored: " + one)
	}
	return nil
}

// writeNew writes a file that is its owner's alone, and never over another one.
func writeNew(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return hook.Refusef(finding.BackupExists, "name another file, or move that one away",
			"file %s is there already", path)
	}
	if err != nil {
		return fmt.Errorf("write the values: %w", err)
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

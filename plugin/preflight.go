package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"helm.sh/helm/v3/pkg/cli/values"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/helmenv"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/catalog"
	"github.com/neutree-ai/packaging/internal/preflight/load"
	"github.com/neutree-ai/packaging/internal/probe"
	"github.com/neutree-ai/packaging/internal/report"
	"github.com/neutree-ai/packaging/internal/version"
)

const preflightHelp = `Check whether a cluster is ready for an install, and explain how to fix what is not.

What is checked is what would be installed: the chart is rendered with the values that "helm install" would be given, and
every image, port, volume, right and pod in it becomes a requirement. Some checks start short-lived pods, which are removed
at the end, also after Ctrl-C; --no-pods only reads.

NAME is the release's name, "neutree" unless given. CHART is a directory, an archive, REPOSITORY/CHART or an oci:// address;
unless given, it is the chart that came with this plugin.

Results go to standard output, progress to standard error. Each check has an ID such as storage.class, whose first part is its
topic; docs/preflight.md explains all of them.

Exit codes: 0 no errors, 1 something could not be checked, 2 checks failed, 3 there are warnings and
--strict is set, 124 --timeout ended first, 130 interrupted.`

const preflightExample = `  # What would "helm install neutree ./charts/neutree -n nap -f values.yaml" run into?
  helm neutree preflight neutree ./charts/neutree -n nap -f values.yaml

  # Only read, and only look at storage and ports
  helm neutree preflight -n nap -f values.yaml --no-pods --only storage,exposure

  # In a pipeline: wait up to five minutes for the cluster to become fit, and take warnings for failures
  helm neutree preflight -n nap -f values.yaml --wait 5m --timeout 10m --strict -o junit > preflight.xml

  # The IDs of what failed
  helm neutree preflight -n nap -o go-template='{{range .results}}{{if eq .status "fail"}}{{.id}}{{"\n"}}{{end}}{{end}}'`

// preflightFlags are the command's own.
type preflightFlags struct {
	values       values.Options
	checks       preflight.Options
	chartVersion string
	output       string
	timeout      time.Duration
	nodes        string
	models       []string
	strict       bool
	cleanup      bool
	list         bool
}

func newPreflightCommand(settings *helmenv.Settings) *cobra.Command {
	flags := &preflightFlags{}
	cmd := &cobra.Command{
		Use:               "preflight [NAME] [CHART]",
		Short:             "Check whether a cluster is ready for an install",
		Long:              preflightHelp,
		Example:           preflightExample,
		Args:              cobra.MaximumNArgs(2),
		ValidArgsFunction: completeChart,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case flags.list:
				return report.List(cmd.OutOrStdout(), catalog.Checks())
			case flags.cleanup:
				return cleanupProbes(cmd, settings)
			}
			return runPreflight(cmd, settings, flags, args)
		},
	}
	addValueFlags(cmd.Flags(), &flags.values, &flags.chartVersion)
	f := cmd.Flags()
	f.StringVarP(&flags.output, "output", "o", "text", strings.Join(report.Formats, ", "))
	f.StringSliceVar(&flags.checks.Only, "only", nil, "IDs or topics of the checks to make")
	f.StringSliceVar(&flags.checks.Skip, "skip", nil, "IDs or topics of checks to leave out")
	f.StringSliceVar(&flags.checks.With, "with", nil, "IDs or topics of checks that are made only when asked for")
	f.BoolVar(&flags.checks.NoPods, "no-pods", false, "read only: start no pods")
	f.StringVar(&flags.nodes, "nodes", "all", "how many nodes the checks of single nodes look at: all, or a number")
	f.DurationVar(&flags.checks.Wait, "wait", 0, "repeat failed checks for this long")
	f.DurationVar(&flags.timeout, "timeout", 5*time.Minute, "time for everything")
	f.StringArrayVar(&flags.models, "model", nil, "a model to try: agent=codex,url=https://api.example.com,name=MODEL,secret=NAME/KEY; can be repeated")
	f.BoolVar(&flags.strict, "strict", false, "end with 3 when there are warnings")
	f.BoolVar(&flags.cleanup, "cleanup", false, "remove what an earlier run left, and do nothing else")
	f.BoolVar(&flags.list, "list", false, "list the checks, and do nothing else")
	for _, name := range []string{"only", "skip", "with"} {
		_ = cmd.RegisterFlagCompletionFunc(name, completeChecks)
	}
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]cobra.Completion{"text", "json", "junit", "sarif", "go-template=", "go-template-file="}, cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveNoSpace))
	return cmd
}

// addValueFlags adds the flags of `helm install` that decide what would be installed.
func addValueFlags(f *pflag.FlagSet, to *values.Options, chartVersion *string) {
	f.StringSliceVarP(&to.ValueFiles, "values", "f", nil, "values file or URL; can be repeated")
	f.StringArrayVar(&to.Values, "set", nil, "key=value; can be repeated")
	f.StringArrayVar(&to.StringValues, "set-string", nil, "key=value, taken as text; can be repeated")
	f.StringArrayVar(&to.FileValues, "set-file", nil, "key=path of a file with the value; can be repeated")
	f.StringArrayVar(&to.JSONValues, "set-json", nil, "key=JSON; can be repeated")
	f.StringArrayVar(&to.LiteralValues, "set-literal", nil, "key=value, taken as it stands; can be repeated")
	f.StringVar(chartVersion, "version", "", "version of a chart from a repository or registry")
}

func runPreflight(cmd *cobra.Command, settings *helmenv.Settings, flags *preflightFlags, args []string) error {
	var err error
	if flags.checks.Nodes, err = preflight.ParseNodes(flags.nodes); err != nil {
		return err
	}
	if flags.checks.Models, err = preflight.ParseModels(flags.models); err != nil {
		return err
	}
	if len(flags.checks.Models) > 0 {
		// Who names a model asks for it to be tried.
		flags.checks.With = append(flags.checks.With, "llm.protocol")
	}
	// A wrong format is better known before the work.
	if _, err := report.New(flags.output, cmd.OutOrStdout(), report.Subject{}, report.Look{}); err != nil {
		return err
	}
	for _, warning := range flags.checks.UseCurrentNames() {
		fmt.Fprintf(cmd.ErrOrStderr(), "Warning: %s\n", warning)
	}
	checks, err := preflight.Select(catalog.Checks(), flags.checks)
	if err != nil {
		return err
	}
	config, err := settings.Connect()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), flags.timeout)
	defer cancel()
	options := load.Options{Config: config, Namespace: settings.Namespace(), Values: flags.values, Checks: flags.checks}
	var remove func()
	options.Release, options.Chart, remove, err = locate(ctx, args, flags.chartVersion)
	if err != nil {
		return hook.Stopped(ctx, err)
	}
	defer remove()
	subject, err := load.Subject(ctx, options)
	if err != nil {
		return hook.Stopped(ctx, err)
	}
	screen := report.NewScreen(cmd.OutOrStdout(), cmd.ErrOrStderr())
	result, err := report.New(flags.output, screen.Results, report.About(ctx, subject, version.Get().Version), screen.Look)
	if err != nil {
		return err
	}
	summary := preflight.Run(ctx, subject, checks, report.Tee(screen.Progress, result))
	if err := subject.Close(); err != nil {
		warn(cmd.ErrOrStderr(), err)
	}
	if err := result.Err(); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if code := summary.ExitCode(flags.strict); code != 0 {
		return exitCode(code)
	}
	return nil
}

// locate tells the release and the chart from the arguments. The function that it returns removes what was pulled.
func locate(ctx context.Context, args []string, chartVersion string) (release, path string, remove func(), err error) {
	release = "neutree"
	reference := ""
	switch {
	case len(args) == 2:
		release, reference = args[0], args[1]
	case len(args) == 1 && strings.ContainsAny(args[0], "/\\."):
		reference = args[0]
	case len(args) == 1:
		release = args[0]
	}
	dir, err := os.MkdirTemp("", "neutree-chart")
	if err != nil {
		return "", "", nil, err
	}
	remove = func() { _ = os.RemoveAll(dir) }
	if path, err = chart.Locate(ctx, reference, chartVersion, dir); err != nil {
		remove()
		return "", "", nil, err
	}
	return release, path, remove, nil
}

func cleanupProbes(cmd *cobra.Command, settings *helmenv.Settings) error {
	client, err := connect(settings)
	if err != nil {
		return err
	}
	namespace := settings.Namespace()
	removed, err := probe.Cleanup(cmd.Context(), client, namespace, namespace+"-workspaces")
	for _, one := range removed {
		fmt.Fprintln(cmd.OutOrStdout(), "removed "+one)
	}
	if err == nil && len(removed) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "nothing was left")
	}
	return err
}

package main

import (
	"bytes"
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/progress"
	"github.com/neutree-ai/packaging/internal/secretexport"
	"github.com/neutree-ai/packaging/internal/secretplan"
)

const exportHelp = `Write the Secrets of a release to a file that is encrypted with age.

The file has all Secrets of the release as a Kubernetes List, also those that you named in the chart's values. Those who
have the identity of one of the recipients bring them back, in this cluster or another one:

  age -d -i key.txt secrets.age | kubectl apply -f -

Nothing is written to disk that is not encrypted. A file that exists stays, unless --force is given.

The caller needs to get the Secrets, and to list ConfigMaps, in the release's namespace.

Exit codes: 0 written; 1 failed; 2 refused, such as a file that exists; 124 out of time.`

func newSecretsExportCommand(o *secretsOptions) *cobra.Command {
	var recipients []string
	var path string
	var force bool
	cmd := &cobra.Command{
		Use:   "export --recipient age1… -o FILE",
		Short: "Write the Secrets of a release to a file that is encrypted with age",
		Long:  exportHelp,
		Example: "  helm neutree secrets export -n nap -o secrets.age " +
			"--recipient age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			people, err := secretexport.Recipients(recipients)
			if err != nil {
				return err
			}
			if path == "" {
				return hook.Errorf(hook.Usage, "name the file to write with --output")
			}
			if err := secretexport.CheckFile(path, force); err != nil {
				return err
			}
			return o.run(cmd.Context(), func(ctx context.Context, client *kube.Client, plan secretplan.Plan) error {
				var file bytes.Buffer
				log := progress.New(cmd.ErrOrStderr())
				done, err := secretexport.Write(ctx, client, o.settings.Namespace(), plan, people, &file)
				if err != nil {
					return err
				}
				if len(done.Missing) > 0 {
					log.Warn("Secrets of the release do not exist, and are not in the file: " + strings.Join(done.Missing, ", "))
				}
				if err := secretexport.SaveFile(path, file.Bytes(), force); err != nil {
					return err
				}
				log.Info(path + " has the Secrets " + strings.Join(done.Secrets, ", "))
				return nil
			})
		},
	}
	cmd.Flags().StringArrayVar(&recipients, "recipient", nil, "age public key of a person who may read the file; may be given again")
	cmd.Flags().StringVarP(&path, "output", "o", "", "file to write")
	cmd.Flags().BoolVar(&force, "force", false, "replace the file if it exists")
	return cmd
}

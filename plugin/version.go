package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/version"
)

func newVersionCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this plugin",
		Example: "  helm neutree version\n  helm neutree version -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch output {
			case "text":
				_, err := fmt.Fprintln(cmd.OutOrStdout(), version.Get())
				return err
			case "json":
				return json.NewEncoder(cmd.OutOrStdout()).Encode(version.Get())
			}
			return fmt.Errorf("--output must be text or json, not %q", output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

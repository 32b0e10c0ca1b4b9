package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/preflight/catalog"
)

// completeChecks offers topics and IDs, after a comma the next one.
func completeChecks(_ *cobra.Command, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	given := ""
	if i := strings.LastIndex(word, ","); i >= 0 {
		given = word[:i+1]
	}
	var offers []cobra.Completion
	for _, check := range catalog.Checks() {
		if topic := cobra.CompletionWithDesc(given+check.Topic(), "all of this topic"); !slices.Contains(offers, topic) {
			offers = append(offers, topic)
		}
		offers = append(offers, cobra.CompletionWithDesc(given+check.ID, check.Title))
	}
	return offers, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// completeChart leaves the second argument to the shell, which knows files.
func completeChart(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return []cobra.Completion{"neutree"}, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveFilterDirs
}

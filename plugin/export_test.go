package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/helmenv"
)

// NewRootCommand lets the tests, which otherwise run the plugin as Helm does, walk through its commands.
func NewRootCommand() *cobra.Command { return newRootCommand(helmenv.New(io.Discard)) }

// Warn is what a command prints of an error that does not end it.
func Warn(w io.Writer, err error) { warn(w, err) }

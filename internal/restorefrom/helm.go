package restorefrom

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// Helm is a person's own Helm.
type Helm interface {
	// Run runs it with arguments and standard input.
	Run(ctx context.Context, input []byte, args ...string) error
}

// Program is the Helm that has started the plugin, or the one in PATH.
type Program struct {
	// Env is what it gets in addition to the environment.
	Env []string
	// Talk gets what it prints.
	Talk io.Writer
}

// Run implements Helm. After a signal Helm has some time to note in its record how far it was.
func (p Program) Run(ctx context.Context, input []byte, args ...string) error {
	cmd := exec.CommandContext(ctx, cmp.Or(os.Getenv("HELM_BIN"), "helm"), args...)
	cmd.Env = append(os.Environ(), p.Env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), p.Talk, p.Talk
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("helm %s: %w", args[0], err)
	}
	return nil
}

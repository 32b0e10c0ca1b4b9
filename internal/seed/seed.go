// Package seed runs the control plane's seed scripts once for each set of migrations.
package seed

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/mask"
	"github.com/neutree-ai/packaging/internal/migrate"
)

// Runner runs seeds with one environment.
type Runner struct {
	// Environ is the environment of the commands, as os.Environ gives it. It must hold DATABASE_URL.
	Environ []string
	// Stdout and Stderr get what the commands print, with secret values masked.
	Stdout, Stderr io.Writer
	Log            *slog.Logger
	// Patience is how long a record that the migrations have failed may be an old one; 0 means 15 seconds.
	Patience time.Duration
}

// Run waits until the spec's set of migrations is recorded, or has failed, then runs the seeds in order unless the
// record says that these seeds have run on this set before.
func (r Runner) Run(ctx context.Context, spec hook.SeedSpec) (ran bool, err error) {
	env := environment(r.Environ)
	commands := make([][]string, len(spec.Seeds))
	for i, s := range spec.Seeds {
		for _, word := range s.Command {
			expanded, err := expand(word, env)
			if err != nil {
				return false, hook.Errorf(hook.Usage, "seed %s: %w", s.Name, err)
			}
			commands[i] = append(commands[i], expanded)
		}
	}
	databaseURL := env["DATABASE_URL"]
	if err := migrate.WaitForOutcome(ctx, r.Log, databaseURL, spec.Set, cmp.Or(r.Patience, 15*time.Second)); err != nil {
		return false, err
	}
	digest, err := spec.Digest()
	if err != nil {
		return false, err
	}
	seeded, err := migrate.Seeded(ctx, databaseURL, digest)
	if err != nil {
		return false, fmt.Errorf("read the record of seeds: %w", err)
	}
	if seeded {
		r.Log.Info("these seeds have run on this set of migrations before")
		return false, nil
	}
	for i, s := range spec.Seeds {
		if err := r.run(ctx, s.Name, commands[i], masks(env)); err != nil {
			return false, err
		}
	}
	if err := migrate.RecordSeeded(ctx, databaseURL, digest); err != nil {
		return false, fmt.Errorf("record the seeds: %w", err)
	}
	return true, nil
}

// run runs one command. When ctx ends, the command gets SIGTERM and some time to obey.
func (r Runner) run(ctx context.Context, name string, command []string, secrets mask.Mask) error {
	stdout := &maskingWriter{to: r.Stdout, secrets: secrets}
	stderr := &maskingWriter{to: r.Stderr, secrets: secrets}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = r.Environ, stdout, stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	r.Log.Info("seeding", "seed", name)
	start := time.Now()
	err := cmd.Run()
	stdout.flush()
	stderr.flush()
	if err != nil {
		said := stderr.last
		if said == "" {
			said = stdout.last
		}
		return fmt.Errorf("seed %s failed: %w; the last it said was %q", name, err, said)
	}
	r.Log.Info("seeded", "seed", name, "millis", time.Since(start).Milliseconds())
	return nil
}

func environment(environ []string) map[string]string {
	env := map[string]string{}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		env[name] = value
	}
	return env
}

// expand replaces "$(NAME)" as Kubernetes does in a container's arguments; "$$" stands for "$". An
// unknown name is an error here, since a seed must not write "$(NAME)" into the database.
func expand(word string, env map[string]string) (string, error) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(word, "$")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		switch {
		case strings.HasPrefix(after, "$"):
			b.WriteByte('$')
			word = after[1:]
		case strings.HasPrefix(after, "(") && strings.Contains(after, ")"):
			name, rest, _ := strings.Cut(after[1:], ")")
			value, ok := env[name]
			if !ok {
				return "", fmt.Errorf("the environment has no variable %s", name)
			}
			b.WriteString(value)
			word = rest
		default:
			b.WriteByte('$')
			word = after
		}
	}
}

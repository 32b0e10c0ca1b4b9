// Package debian installs the Debian packages that the testbed needs.
package debian

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Install installs those of packages that are missing. The package lists are fetched only where apt knows no such
// package without them.
func Install(ctx context.Context, log *slog.Logger, packages ...string) error {
	missing, err := Missing(ctx, packages...)
	if err != nil || len(missing) == 0 {
		return err
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("debian packages %s are missing: run as root, or install them with: apt-get install %s",
			strings.Join(missing, ", "), strings.Join(missing, " "))
	}
	log.Info("installing Debian packages " + strings.Join(missing, ", "))
	return withLists(ctx, func() error {
		// What a machine has already, such as another vendor's containerd, is not given up for a test.
		return apt(ctx, append([]string{"install", "--yes", "--no-install-recommends", "--no-remove"}, missing...)...)
	})
}

// Unpack unpacks the files of packages into dir, without installing them.
func Unpack(ctx context.Context, dir string, packages ...string) error {
	downloads, err := os.MkdirTemp("", "debian-")
	if err != nil {
		return fmt.Errorf("unpack %s: %w", strings.Join(packages, ", "), err)
	}
	defer os.RemoveAll(downloads)
	err = withLists(ctx, func() error {
		// As root, apt would fetch as a user of its own, who cannot write here, and nobody else should.
		command := aptCommand(ctx, append([]string{"download", "--option", "APT::Sandbox::User=root"}, packages...)...)
		command.Dir = downloads
		return run(command)
	})
	if err != nil {
		return err
	}
	return extract(ctx, downloads, dir)
}

// UnpackTree does the same with everything that the packages need on an empty machine. Nothing of them is set up: no
// users, no configuration, no cache of libraries.
func UnpackTree(ctx context.Context, dir string, packages ...string) error {
	downloads, err := os.MkdirTemp("", "debian-")
	if err != nil {
		return fmt.Errorf("unpack %s: %w", strings.Join(packages, ", "), err)
	}
	defer os.RemoveAll(downloads)
	// What apt takes for the state of a machine, and where it downloads to.
	nothing := filepath.Join(downloads, "status")
	if err := os.WriteFile(nothing, nil, 0o644); err != nil {
		return fmt.Errorf("unpack %s: %w", strings.Join(packages, ", "), err)
	}
	if err := os.Mkdir(filepath.Join(downloads, "partial"), 0o755); err != nil {
		return fmt.Errorf("unpack %s: %w", strings.Join(packages, ", "), err)
	}
	err = withLists(ctx, func() error {
		return apt(ctx, append([]string{"install", "--download-only", "--yes", "--no-install-recommends",
			"--option", "Dir::State::status=" + nothing, "--option", "Dir::Cache::archives=" + downloads,
			"--option", "Debug::NoLocking=1", "--option", "APT::Sandbox::User=root"}, packages...)...)
	})
	if err != nil {
		return err
	}
	return extract(ctx, downloads, dir)
}

// extract unpacks every package in downloads into dir.
func extract(ctx context.Context, downloads, dir string) error {
	files, err := filepath.Glob(filepath.Join(downloads, "*.deb"))
	if err != nil {
		return fmt.Errorf("unpack packages: %w", err)
	}
	for _, file := range files {
		if err := run(exec.CommandContext(ctx, "dpkg-deb", "--extract", file, dir)); err != nil {
			return err
		}
	}
	return nil
}

// withLists runs action, and when it fails, once more with package lists that are up to date.
func withLists(ctx context.Context, action func() error) error {
	first := action()
	if first == nil || ctx.Err() != nil {
		return first
	}
	if err := apt(ctx, "update"); err != nil {
		return errors.Join(first, err)
	}
	return action()
}

// Missing lists those of packages that are not installed.
func Missing(ctx context.Context, packages ...string) ([]string, error) {
	if _, err := exec.LookPath("dpkg-query"); err != nil {
		return nil, fmt.Errorf("this is no Debian machine (there is no dpkg-query): the testbed runs with Debian's packages %s", strings.Join(packages, ", "))
	}
	var missing []string
	for _, name := range packages {
		// dpkg-query fails for a package it never heard of.
		status, _ := exec.CommandContext(ctx, "dpkg-query", "--show", "--showformat=${db:Status-Status}", name).Output()
		if string(status) != "installed" {
			missing = append(missing, name)
		}
	}
	return missing, ctx.Err()
}

func apt(ctx context.Context, args ...string) error { return run(aptCommand(ctx, args...)) }

func aptCommand(ctx context.Context, args ...string) *exec.Cmd {
	// Another apt may hold the lock for a while, on a machine that has just started for one.
	command := exec.CommandContext(ctx, "apt-get", append([]string{"--quiet", "--option", "DPkg::Lock::Timeout=120"}, args...)...)
	command.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
	// Killed, apt-get leaves dpkg in the middle of its work; interrupted, it brings that to an end.
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = 2 * time.Minute
	return command
}

func run(command *exec.Cmd) error {
	output, err := command.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(command.Args, " "), err, bytes.TrimSpace(output))
	}
	return nil
}

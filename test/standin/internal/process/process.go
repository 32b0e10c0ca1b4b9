// Package process holds what a program of the platform is to the machine it runs on: its name, its
// arguments and environment, how it ends, and which signals it hears.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// Process is one running program.
type Process struct {
	// Name is what messages call it.
	Name string
	// Args are its arguments without its own name.
	Args   []string
	Lookup func(string) (string, bool)
	Stdout io.Writer
	Log    *slog.Logger
}

// New is the process the operating system started.
func New(name string, args []string) *Process {
	return &Process{
		Name:   name,
		Args:   args,
		Lookup: os.LookupEnv,
		Stdout: os.Stdout,
		Log:    slog.New(slog.NewTextHandler(os.Stderr, nil)).With("service", name),
	}
}

// Exit ends a process with a code of its own choice. Any other error ends it with 1.
type Exit struct {
	Code int
	Err  error
}

func (e *Exit) Error() string { return e.Err.Error() }

func (e *Exit) Unwrap() error { return e.Err }

// Code logs why a process ends and returns its exit code.
func (p *Process) Code(err error) int {
	if err == nil {
		return 0
	}
	p.Log.Error(fmt.Sprintf("%s ends: %v", p.Name, err))
	var exit *Exit
	if errors.As(err, &exit) {
		return exit.Code
	}
	return 1
}

// Hear returns a context that ends with the first of the given signals. A process that runs as the first
// of its container ignores every other signal, as the kernel does for programs without a handler; Go's
// runtime would end instead, and hide that the container can't be stopped this way.
func Hear(handled ...os.Signal) (context.Context, context.CancelFunc) {
	if os.Getpid() == 1 {
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
	}
	if len(handled) == 0 {
		return context.WithCancel(context.Background())
	}
	return signal.NotifyContext(context.Background(), handled...)
}

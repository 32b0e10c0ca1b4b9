// Package hook holds what all commands of nap-hooks share: their specs, exit codes, logs, deadline,
// and the message that Kubernetes keeps when the container ends.
package hook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/plain"
)

// Options are the settings that every command has.
type Options struct {
	// Timeout is the command's own deadline. It must be shorter than the Job's, which would delete the log.
	Timeout time.Duration
	// LogFormat is "json", "text" or "plain".
	LogFormat string
	// TerminationLog is the file that Kubernetes reads the cause from.
	TerminationLog string

	result  string
	started bool
}

// Run calls do with a logger on w and a context that ends at the deadline.
func (o *Options) Run(ctx context.Context, w io.Writer, do func(context.Context, *slog.Logger) error) error {
	if o.Timeout <= 0 {
		return Errorf(Usage, "--timeout must be longer than 0, not %s", o.Timeout)
	}
	return o.Serve(ctx, w, func(ctx context.Context, log *slog.Logger) error {
		ctx, cancel := context.WithTimeout(ctx, o.Timeout)
		defer cancel()
		return Stopped(ctx, do(ctx, log))
	})
}

// Serve calls do with a logger on w, for a command that runs until it is stopped and so has no deadline.
func (o *Options) Serve(ctx context.Context, w io.Writer, do func(context.Context, *slog.Logger) error) error {
	log, err := NewLogger(w, o.LogFormat)
	if err != nil {
		return err
	}
	o.started = true
	return do(ctx, log)
}

// Started tells whether a command got as far as its work: an error before that is one of usage.
func (o *Options) Started() bool { return o.started }

// SetResult keeps one sentence on what a command achieved, for the termination message.
func (o *Options) SetResult(format string, args ...any) { o.result = fmt.Sprintf(format, args...) }

// Finish tells the outcome on w and in the termination log, and returns the exit code.
func (o *Options) Finish(err error, w io.Writer) int {
	message := o.result
	if err != nil {
		message = err.Error()
		log, lerr := NewLogger(w, o.LogFormat)
		if lerr != nil {
			log = slog.New(slog.NewJSONHandler(w, nil))
		}
		o.logFailure(log, err)
	}
	if message != "" {
		if werr := WriteTermination(o.TerminationLog, message); werr != nil {
			fmt.Fprintf(w, "write the termination message: %v\n", werr)
		}
	}
	return int(CodeOf(err))
}

// logFailure writes the outcome: in a log for people one line for each finding, else one event with the exit code.
func (o *Options) logFailure(log *slog.Logger, err error) {
	findings := finding.Of(err)
	if o.LogFormat != "plain" {
		attributes := []any{"exitCode", int(CodeOf(err))}
		if ids := findings.IDs(); len(ids) > 0 {
			attributes = append(attributes, "findings", ids)
		}
		log.Error(err.Error(), attributes...)
		return
	}
	lines := []string{err.Error()}
	if err.Error() == findings.Error() {
		lines = findings.Lines()
	}
	for _, line := range lines {
		log.Error(line)
	}
}

// NewLogger makes the logger of a command. format is "json", "text", or "plain" for what people read where Helm prints
// it.
func NewLogger(w io.Writer, format string) (*slog.Logger, error) {
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(w, nil)), nil
	case "text":
		return slog.New(slog.NewTextHandler(w, nil)), nil
	case "plain":
		return slog.New(newPlainHandler(w)), nil
	}
	return nil, Errorf(Usage, "--log-format must be json, text or plain, not %q", format)
}

// maxTermination is what the kubelet keeps of a termination message.
const maxTermination = 4096

// WriteTermination writes message to path. Outside a container the file does not exist, and that is no error.
func WriteTermination(path, message string) error {
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	message = plain.Text(message)
	if len(message) > maxTermination {
		message = strings.ToValidUTF8(message[:maxTermination-4], "") + " …"
	}
	_, err = f.WriteString(message)
	return errors.Join(err, f.Close())
}

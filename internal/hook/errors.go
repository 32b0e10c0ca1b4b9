package hook

import (
	"context"
	"errors"
	"fmt"

	"github.com/neutree-ai/packaging/internal/finding"
)

// Code is an exit code of nap-hooks. A Job's podFailurePolicy acts on it.
type Code int

// The exit codes. Usage, Refused, MigrationFailed, Pending (migrations wait, and a backup is to be made first),
// HalfRestored (a restore replaced the platform's database and not all of what belongs to it) and Deadline are permanent:
// a retry cannot help, or must be a person's. Unchanged is a restore that failed and certainly replaced nothing.
const (
	OK              Code = 0
	Unexpected      Code = 1
	Usage           Code = 2
	Refused         Code = 10
	MigrationFailed Code = 11
	Busy            Code = 12
	Pending         Code = 13
	HalfRestored    Code = 14
	Unchanged       Code = 15
	Deadline        Code = 20
)

// Error is an error that decides the exit code.
type Error struct {
	Code Code
	Err  error
}

// Error is the cause alone: the code is for machines.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error as fmt.Errorf makes an error.
func Errorf(code Code, format string, args ...any) error {
	return &Error{Code: code, Err: fmt.Errorf(format, args...)}
}

// Failf makes an error of one finding, with the code: format and args say what was found, fix what to do.
func Failf(code Code, id finding.ID, fix, format string, args ...any) error {
	f := finding.Finding{ID: id, Severity: finding.Error, Found: fmt.Sprintf(format, args...), Fix: fix}
	return &Error{Code: code, Err: finding.List{f}}
}

// Refusef is Failf of a command that refuses, since a person has to fix something first.
func Refusef(id finding.ID, fix, format string, args ...any) error {
	return Failf(Refused, id, fix, format, args...)
}

// Refuse refuses because of findings.
func Refuse(findings ...finding.Finding) error {
	return &Error{Code: Refused, Err: finding.List(findings)}
}

// CodeOf is the exit code that err asks for: that of the outermost Error in its chain.
func CodeOf(err error) Code {
	if err == nil {
		return OK
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return Unexpected
}

// Stopped explains an error that only says that ctx ended. Other errors are returned as they are.
func Stopped(ctx context.Context, err error) error {
	var e *Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	switch ctx.Err() {
	case context.DeadlineExceeded:
		return Errorf(Deadline, "the deadline passed: %w", err)
	case context.Canceled:
		return Errorf(Unexpected, "stopped by a signal: %w", err)
	}
	return err
}

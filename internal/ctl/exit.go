package ctl

import (
	"fmt"

	"github.com/spf13/cobra"
)

// Exit codes. An error without one exits with exitFailure.
const (
	exitFailure       = 1
	exitBadConnection = 2
	exitInvalidInput  = 3
	exitBadFeature    = 4
	exitInterrupted   = 5
	exitBadArgs       = 128
)

// exitError gives an error an exit code. A silent one has been reported already.
type exitError struct {
	code   int
	err    error
	silent bool
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// fail makes an error with an exit code; the format is fmt.Errorf's.
func fail(code int, format string, args ...any) error {
	return &exitError{code: code, err: fmt.Errorf(format, args...)}
}

// badArgs refuses positional arguments or flag values.
func badArgs(format string, args ...any) error { return fail(exitBadArgs, format, args...) }

// withCode gives err an exit code, nil stays nil.
func withCode(code int, err error) error {
	if err == nil {
		return nil
	}
	return &exitError{code: code, err: err}
}

// silently exits with a code and no further word.
func silently(code int) error {
	return &exitError{code: code, err: fmt.Errorf("exit status %d", code), silent: true}
}

// usageError is a mistake that is answered with the usage text on stderr.
type usageError struct {
	err  error
	text string
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// badFlag is cobra's hook for flags that do not parse.
func badFlag(cmd *cobra.Command, err error) error {
	return &usageError{err: err, text: cmd.UsageString()}
}

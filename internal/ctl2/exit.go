package ctl2

import (
	"errors"
	"fmt"

	"github.com/cairn-kv/cairn/internal/v2client"
)

// Exit codes.
const (
	exitFailure        = 1
	exitBadConnection  = 2
	exitUnknownCommand = 3
	exitServer         = 4
	exitUnhealthy      = 5
)

// failure is an error with how it is told.
type failure struct {
	code int
	err  error // nil if it has been told
	bare bool  // without "Error:" before it
}

func (f *failure) Error() string {
	if f.err == nil {
		return fmt.Sprintf("exit status %d", f.code)
	}
	return f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

// failed is how commands on keys tell an error. nil stays nil.
func failed(code int, err error) error {
	if err == nil {
		return nil
	}
	return &failure{code: code, err: err}
}

// refused is how commands on members, users and roles tell an error: by its words alone. nil stays nil.
func refused(err error) error {
	var f *failure
	if err == nil || errors.As(err, &f) {
		return err
	}
	return &failure{code: exitFailure, err: err, bare: true}
}

func refuse(format string, args ...any) error { return refused(fmt.Errorf(format, args...)) }

// required is the error of arguments that are not there.
func required(what string) error { return failed(exitFailure, errors.New(what+" required")) }

// silently exits with a code and no further word.
func silently(code int) error { return &failure{code: code} }

// report tells an error and picks the exit code.
func (a *app) report(err error) int {
	if err == nil {
		return 0
	}
	var f *failure
	if !errors.As(err, &f) {
		f = &failure{code: exitFailure, err: err, bare: true}
	}
	switch {
	case f.err == nil:
	case f.bare:
		a.warn("%v", f.err)
	default:
		a.warn("Error:  %v", f.err)
		var all *v2client.ClusterError
		if errors.As(f.err, &all) {
			a.warn("%s", all.Detail())
		}
	}
	return f.code
}

package pebble

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// failure collects what goes wrong behind the callers' backs. It is pebble's
// logger, and says nothing.
//
// There are two grades. A table that could not be written (a full disk) is
// tried again by pebble; commits and flushes fail until it succeeds. An error
// that pebble calls fatal (the list of tables could not be written, so nobody
// knows what is on disk) is final: the engine is dead until it is opened anew.
type failure struct {
	mu      sync.Mutex
	current error
	final   bool
	failed  chan struct{} // closed by the next failure
	onFinal func()        // called once, in a goroutine of its own
}

func newFailure(onFinal func()) *failure {
	return &failure{failed: make(chan struct{}), onFinal: onFinal}
}

// retryPause keeps pebble, which tries again at once, from spinning.
const retryPause = 10 * time.Millisecond

// emptyTable is pebble's way of saying that a table was not needed.
const emptyTable = "pebble: empty table"

// fatal carries a fatal error of a foreground call up to guard.
type fatal struct{ err error }

// Infof implements pebble.Logger.
func (f *failure) Infof(string, ...any) {}

// Errorf implements pebble.Logger.
func (f *failure) Errorf(string, ...any) {}

// Fatalf implements pebble.Logger. Pebble does not expect it to return, and
// going on after it would damage the directory: a call from above is unwound
// to guard, a background goroutine ends here.
func (f *failure) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	f.note(err, true)
	if guarded() {
		panic(fatal{err})
	}
	runtime.Goexit()
}

// guard runs a call into pebble and turns a fatal error into its result.
func (f *failure) guard(call func() error) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case fatal:
			err = p.err
		default:
			panic(p)
		}
	}()
	return call()
}

// guarded reports whether guard is among the callers.
func guarded() bool {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.Function, "engine/pebble.(*failure).guard") {
			return true
		}
		if !more {
			return false
		}
	}
}

func (f *failure) note(err error, final bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.final {
		return
	}
	f.current, f.final = err, final
	close(f.failed)
	f.failed = make(chan struct{})
	if final {
		go f.onFinal()
	}
}

// clear forgets a failure that is over.
func (f *failure) clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.final {
		f.current = nil
	}
}

func (f *failure) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current
}

// last is the failure that closed a channel of watch, even if it is over.
func (f *failure) last() error {
	if err := f.err(); err != nil {
		return err
	}
	return errors.New("a table could not be written")
}

func (f *failure) dead() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.final
}

// watch returns a channel that the next failure closes, or the error that
// makes waiting pointless.
func (f *failure) watch() (<-chan struct{}, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.final {
		return nil, f.current
	}
	return f.failed, nil
}

// listener hears of background work. Pebble calls it with its own lock held,
// so it must not call back.
func (e *Engine) listener() *pebble.EventListener {
	l := &pebble.EventListener{
		BackgroundError: func(error) { time.Sleep(retryPause) },
		DataCorruption:  func(pebble.DataCorruptionInfo) {}, // the read returns it
		FlushEnd: func(info pebble.FlushInfo) {
			switch {
			case !info.Done:
			case info.Err == nil || info.Err.Error() == emptyTable:
				e.fail.clear()
				e.size.flushed(int64(info.InputBytes))
				e.settle(info.Output)
			default:
				e.fail.note(info.Err, false)
			}
		},
		CompactionEnd: func(pebble.CompactionInfo) { e.size.stale.Store(true) },
		TableDeleted:  func(pebble.TableDeleteInfo) { e.size.stale.Store(true) },
	}
	l.EnsureDefaults(nil)
	return l
}

package host

import (
	"time"

	"github.com/cairn-kv/cairn/internal/engine"
)

const (
	// A snapshot is laid out and sent in pieces with pauses, so that it leaves room for what clients ask for.
	pieceBytes = 64 << 10
	pieceRest  = 3 // pauses take so many times as long as the pieces before them, up to maxRest
	maxRest    = 5 * time.Millisecond
)

// unhurried leaves others room while much of a view is read, and while what is read goes somewhere.
type unhurried struct {
	engine.View
	quit <-chan struct{}
}

// Scan implements engine.View.
func (u unhurried) Scan(s engine.Space, lo, hi []byte, fn func(key, value []byte) bool) error {
	began, read := time.Now(), 0
	var stopped error
	err := u.View.Scan(s, lo, hi, func(key, value []byte) bool {
		if read += len(key) + len(value); read >= pieceBytes {
			if !u.rest(time.Since(began)) {
				stopped = ErrStopping
				return false
			}
			began, read = time.Now(), 0
		}
		return fn(key, value)
	})
	if stopped != nil {
		return stopped
	}
	return err
}

// rest pauses after work that has taken a while, and reports whether to go on.
func (u unhurried) rest(took time.Duration) bool {
	t := time.NewTimer(min(pieceRest*took, maxRest))
	defer t.Stop()
	select {
	case <-u.quit:
		return false
	case <-t.C:
		return true
	}
}

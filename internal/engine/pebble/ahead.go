package pebble

import (
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

const (
	// aheadFrom is after how many records a scan is taken for a long one, such as that of a start.
	aheadFrom = 4096
	// aheadBytes and aheadChunks bound how far it is read ahead.
	aheadBytes  = 256 << 10
	aheadChunks = 3
)

// chunk is a run of pairs, one after the other.
type chunk struct {
	data []byte
	ends []int // of each key and each value in turn
}

func (c *chunk) add(b []byte) {
	c.data = append(c.data, b...)
	c.ends = append(c.ends, len(c.data))
}

// scanAhead goes on with a scan while a goroutine of its own reads on: finding the pairs then costs the caller no time.
// The goroutine has ended when it returns.
func (e *Engine) scanAhead(it *pebble.Iterator, fn func(key, value []byte) bool) error {
	var wg sync.WaitGroup
	full, free := make(chan *chunk, aheadChunks), make(chan *chunk, aheadChunks)
	quit := make(chan struct{})
	for range aheadChunks {
		free <- &chunk{data: make([]byte, 0, aheadBytes)}
	}
	var failed error // set before full is closed
	wg.Go(func() {
		defer close(full)
		for ok := it.Valid(); ok; {
			var c *chunk
			select {
			case c = <-free:
			case <-quit:
				return
			}
			c.data, c.ends = c.data[:0], c.ends[:0]
			for ; ok && len(c.data) < aheadBytes; ok = it.Next() {
				value, err := it.ValueAndErr()
				if err != nil {
					failed = err
					return
				}
				c.add(it.Key()[1:])
				c.add(value)
			}
			full <- c // has room for all there are
		}
	})
	defer wg.Wait()
	defer close(quit)
	for c := range full {
		at := 0
		for i := 0; i < len(c.ends); i += 2 {
			k, v := c.ends[i], c.ends[i+1]
			if !fn(c.data[at:k:k], c.data[k:v:v]) {
				return nil
			}
			at = v
		}
		free <- c
	}
	if failed != nil {
		return e.wrap("scan", failed)
	}
	return nil
}

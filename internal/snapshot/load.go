package snapshot

import (
	"context"
	"errors"

	"github.com/cairn-kv/cairn/internal/engine"
)

// loadBatch is how much Load commits at once, in bytes.
const loadBatch = 4 << 20

// Load copies the pairs of a file into an engine and flushes it. keep, if not
// nil, says which pairs; buckets that are no space of the engine are passed
// over. It commits in steps: after an error, part of the pairs are there.
func (f *File) Load(ctx context.Context, e engine.Engine, keep func(s engine.Space, key []byte) bool) error {
	spaces := make(map[string]engine.Space, len(engine.Spaces))
	for _, s := range engine.Spaces {
		spaces[s.Bucket()] = s
	}
	b := e.NewBatch()
	err := f.each(func(name []byte) bool { return spaces[string(name)].Valid() },
		func(bucket, key, value []byte) error {
			s := spaces[string(bucket)]
			if keep != nil && !keep(s, key) {
				return nil
			}
			b.Set(s, key, value)
			if b.Bytes() < loadBatch {
				return nil
			}
			full := b
			b = e.NewBatch()
			return errors.Join(e.Commit(full), ctx.Err())
		}, nil)
	if err = errors.Join(err, ctx.Err()); err != nil {
		return err
	}
	if err := e.Commit(b); err != nil {
		return err
	}
	return e.Flush()
}

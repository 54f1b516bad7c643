package pebble

import (
	"bytes"
	"cmp"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/vfs"
)

// Options tunes an engine. Sizes are in bytes; zero means the default.
type Options struct {
	// CacheSize bounds the cache of blocks read from disk (16 MiB). The latest
	// records are held elsewhere; the cache serves history and large scans.
	CacheSize int64
	// MemTableSize is how much is collected in memory before it is written to
	// a table (16 MiB). Up to four of them exist at a time.
	MemTableSize int64
	// OpenFiles bounds the tables that are kept open (1024).
	OpenFiles int
	// ReadOnly opens a database that is there already, to look at it: nothing
	// of it changes, and every commit fails.
	ReadOnly bool
}

const (
	defaultCacheSize    = 16 << 20
	defaultMemTableSize = 16 << 20
	minMemTableSize     = 64 << 10
	defaultOpenFiles    = 1024
)

// pebbleOptions is the tuning for this content: records written once, mostly
// under ascending keys, so that most compactions move a table and copy
// nothing. Packing is left to the lowest level, where what is copied at all
// comes to rest.
func pebbleOptions(fs vfs.FS, o Options, cache *pebble.Cache) *pebble.Options {
	opts := &pebble.Options{
		FS:                          fs,
		Cache:                       cache,
		DisableWAL:                  true,
		ReadOnly:                    o.ReadOnly,
		ErrorIfNotExists:            o.ReadOnly,
		FormatMajorVersion:          pebble.FormatNewest,
		MemTableSize:                uint64(o.MemTableSize),
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       8,
		L0StopWritesThreshold:       64,
		LBaseMaxBytes:               64 << 20,
		MaxManifestFileSize:         16 << 20,
		MaxOpenFiles:                cmp.Or(o.OpenFiles, defaultOpenFiles),
		CompactionConcurrencyRange:  func() (int, int) { return 1, 1 },
	}
	opts.TargetFileSizes[0] = 32 << 20 // one table of records for each flush
	opts.Experimental.SpanPolicyFunc = keysApart
	for i := range opts.Levels {
		profile := sstable.NoCompression
		if i == len(opts.Levels)-1 {
			profile = sstable.SnappyCompression
		}
		opts.Levels[i].BlockSize = 32 << 10
		opts.Levels[i].IndexBlockSize = 64 << 10
		opts.Levels[i].Compression = func() *sstable.CompressionProfile { return profile }
	}
	return opts
}

// keysApart makes a table end where the Key space ends. Batches change Meta every time: in one table with the records,
// each table would reach over all that come after it, and all of them would have to be merged. Apart, the tables of records
// follow each other, as revisions do, and stay as they are until something of them is deleted.
func keysApart(start []byte) (policy pebble.SpanPolicy, end []byte, err error) {
	if bound := []byte{byte(engine.Key) + 1}; bytes.Compare(start, bound) < 0 {
		return policy, bound, nil
	}
	return policy, nil, nil
}

func (o Options) withDefaults() Options {
	if o.CacheSize <= 0 {
		o.CacheSize = defaultCacheSize
	}
	if o.MemTableSize <= 0 {
		o.MemTableSize = defaultMemTableSize
	}
	o.MemTableSize = max(o.MemTableSize, minMemTableSize)
	return o
}

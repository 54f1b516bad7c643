package audit

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

func silent() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func config(path string) Config {
	return Config{Path: path, Level: "all", MaxSize: 1, MaxBackups: 2, Logger: silent(), Registry: prometheus.NewRegistry()}
}

// decoded are the lines of some text, each of which must be JSON.
func decoded(t *testing.T, text string) (out []map[string]any) {
	for l := range strings.Lines(text) {
		if l == "\n" {
			continue
		}
		m := map[string]any{}
		require.NoError(t, json.Unmarshal([]byte(l), &m), l)
		out = append(out, m)
	}
	return out
}

func record(op string, keys ...string) *Record {
	r := &Record{Began: time.Now(), API: "v3", Method: "m", Class: Write, Code: "OK"}
	for _, k := range keys {
		r.Touch(op, "", []byte(k), nil)
	}
	return r
}

// Keys that are no text come back from their form as they were; what is long is cut, and says so.
func TestKeys(t *testing.T) {
	long := strings.Repeat("k", mostBytes+1)
	for _, k := range []string{"a", "", "\x00", "a\"b\\\n<&>", "ä€😀", "\xff", "a\xc3", "\xe2\x82", long, strings.Repeat("\xff", mostBytes+7),
		strings.Repeat("€", mostBytes), strings.Repeat("😀", mostBytes), "x" + strings.Repeat("😀", mostBytes), strings.Repeat("k", mostBytes)} {
		r := record("put", k)
		m := decoded(t, string(encode(r.line(time.Now()))))[0]["keys"].([]any)[0].(map[string]any)
		text, _ := m["key"].(string)
		if coded, ok := m["key_base64"].(string); ok {
			require.Empty(t, text)
			b, err := base64.StdEncoding.DecodeString(coded)
			require.NoError(t, err)
			text = string(b)
			require.False(t, utf8.ValidString(text))
		}
		if len(k) <= mostBytes {
			require.Equal(t, k, text)
			require.NotContains(t, m, "key_length")
			continue
		}
		require.True(t, strings.HasPrefix(k, text))
		require.Greater(t, len(text), mostBytes-utf8.UTFMax)
		require.EqualValues(t, len(k), m["key_length"])
	}
}

// The number of keys and the length of every text are bounded, so a line is.
func TestALineIsBounded(t *testing.T) {
	r := record("range")
	huge := strings.Repeat("\x01", 1<<20)
	for range 10_000 {
		r.Touch("range", "success", []byte(huge), []byte(huge))
	}
	r.User, r.Login, r.OfUser, r.OfRole, r.Error = huge, huge, huge, huge, huge
	b := encode(r.line(time.Now()))
	require.Less(t, len(b), mostPiece)
	m := decoded(t, string(b))[0]
	require.Len(t, m["keys"], mostKeys)
	require.EqualValues(t, 10_000-mostKeys, m["keys_left_out"])
}

// Levels choose by class; what is refused is always told.
func TestLevels(t *testing.T) {
	for level, want := range map[string]string{"all": "read write admin refused", "writes": "write admin refused", "admin": "admin refused"} {
		path := filepath.Join(t.TempDir(), "a.log")
		cfg := config(path)
		cfg.Level = level
		l, err := Open(cfg)
		require.NoError(t, err)
		for name, r := range map[string]*Record{"read": {Class: Read}, "write": {Class: Write}, "admin": {Class: Admin}, "refused": {Class: Read, Refused: true}} {
			r.Method, r.Began = name, time.Now()
			l.Write(r)
		}
		require.NoError(t, l.Close())
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		var got []string
		for _, m := range decoded(t, string(b)) {
			got = append(got, m["method"].(string))
		}
		require.ElementsMatch(t, strings.Fields(want), got, level)
	}
}

// The file is exchanged for a new one when it is full, and only so many former ones are kept.
func TestRotation(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	l, err := Open(config(path))
	require.NoError(t, err)
	k := strings.Repeat("k", 200)
	for range 5 * 1000 {
		l.Write(record("put", k, k, k, k, k))
	}
	require.NoError(t, l.Close())
	require.Eventually(t, func() bool { // former files are removed in the background
		files, err := os.ReadDir(dir)
		require.NoError(t, err)
		return len(files) == 3
	}, 10*time.Second, time.Millisecond)
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, f := range files {
		fi, err := f.Info()
		require.NoError(t, err)
		require.LessOrEqual(t, fi.Size(), int64(1<<20))
		require.Zero(t, fi.Mode().Perm()&0o077, "others may not read it")
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		require.NoError(t, err)
		decoded(t, string(b))
	}
}

// disk is a file that can hang and fail.
type disk struct {
	mu     sync.Mutex
	b      bytes.Buffer
	err    error
	part   int // of what a failing write takes
	hang   chan struct{}
	asked  chan struct{}
	closed bool
}

func (d *disk) Write(b []byte) (int, error) {
	if d.asked != nil {
		select {
		case d.asked <- struct{}{}:
		default:
		}
	}
	if d.hang != nil {
		<-d.hang
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		n := min(d.part, len(b))
		d.b.Write(b[:n])
		return n, d.err
	}
	return d.b.Write(b)
}

func (d *disk) Close() error { d.closed = true; return nil }

func (d *disk) text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.b.String()
}

func (d *disk) fail(err error, part int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err, d.part = err, part
}

// While the disk hangs, so much waits in memory and no more: then callers wait. Nothing is lost.
func TestAFullQueueKeepsCallersWaiting(t *testing.T) {
	d := &disk{hang: make(chan struct{}), asked: make(chan struct{}, 1)}
	l := newLog(config(""), d)
	k := strings.Repeat("k", 250)
	writes := func(n int) {
		for range n {
			r := record("put")
			for range mostKeys {
				r.Touch("put", "", []byte(k), []byte(k))
			}
			l.Write(r)
		}
	}
	l.Write(record("put"))
	<-d.asked // it hangs now
	const callers, each = 8, 40
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() { writes(each) })
	}
	full := func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		require.LessOrEqual(t, len(l.waiting), mostWaiting)
		return l.room != nil
	}
	require.Eventually(t, full, 10*time.Second, time.Millisecond)
	close(d.hang)
	wg.Wait()
	require.NoError(t, l.Close())
	require.Len(t, decoded(t, d.text()), 1+callers*each)
	require.True(t, d.closed)
	require.Zero(t, testutil.ToFloat64(l.losses))
	require.EqualValues(t, 1+callers*each, testutil.ToFloat64(l.records))
}

// What could not be written is counted, and told in the file as soon as it can be; a line that was torn does not spoil the next.
func TestDiskErrors(t *testing.T) {
	var said bytes.Buffer
	d := &disk{}
	cfg := config("")
	cfg.Logger = slog.New(slog.NewTextHandler(&said, nil))
	l := newLog(cfg, d)
	settled := func(records, lost float64) {
		t.Helper()
		require.Eventually(t, func() bool { return testutil.ToFloat64(l.records) == records && testutil.ToFloat64(l.losses) == lost }, 10*time.Second, time.Millisecond)
	}
	l.Write(record("put", "a"))
	settled(1, 0)
	d.fail(errors.New("no space left"), 10)
	l.Write(record("put", "b"))
	settled(1, 1)
	d.fail(errors.New("no space left"), 0)
	l.Write(record("put", "c"))
	settled(1, 2)
	d.fail(nil, 0)
	l.Write(record("put", "d"))
	settled(2, 2)
	l.Write(record("put", "e"))
	require.NoError(t, l.Close())
	lines := strings.Split(strings.TrimSpace(d.text()), "\n")
	require.Len(t, lines, 5)
	require.Len(t, lines[1], 10, "the torn one")
	m := decoded(t, strings.Join(append(lines[:1:1], lines[2:]...), "\n"))
	require.Equal(t, "lost", m[1]["method"])
	require.EqualValues(t, 2, m[1]["lost_records"])
	require.Contains(t, lines[3], `"key":"d"`)
	require.Contains(t, lines[4], `"key":"e"`)
	require.Equal(t, 1, strings.Count(said.String(), "the audit log cannot be written"), "it is not said each time")
	l.Write(record("put", "f")) // too late
	require.EqualValues(t, 3, testutil.ToFloat64(l.losses))
}

// Closing lets those go who wait for room.
func TestCloseFreesWaiters(t *testing.T) {
	d := &disk{hang: make(chan struct{}), asked: make(chan struct{}, 1)}
	l := newLog(config(""), d)
	l.Write(record("put", "a"))
	<-d.asked
	l.mu.Lock()
	l.waiting = make([]byte, mostWaiting)
	for i := range l.waiting {
		l.waiting[i] = '\n'
	}
	l.mu.Unlock()
	freed, closed := make(chan struct{}), make(chan error)
	go func() {
		l.Write(record("put", "b"))
		close(freed)
	}()
	require.Eventually(t, func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.room != nil }, 10*time.Second, time.Millisecond)
	go func() { closed <- l.Close() }()
	<-freed
	close(d.hang)
	require.NoError(t, <-closed)
}

func TestWhatIsRefused(t *testing.T) {
	dir := t.TempDir()
	for want, change := range map[string]func(*Config){
		"unknown level":         func(c *Config) { c.Level = "loud" },
		"max-size must be >0":   func(c *Config) { c.MaxSize = 0 },
		"max-backups must be":   func(c *Config) { c.MaxBackups = 0 },
		"max-age must not be":   func(c *Config) { c.MaxAge = -1 },
		"is a directory":        func(c *Config) { c.Path = dir },
		"no such file or direc": func(c *Config) { c.Path = dir + "/a/b" },
	} {
		c := config(filepath.Join(dir, "x"))
		change(&c)
		_, err := Open(c)
		require.ErrorContains(t, err, want)
	}
}

// Package audit keeps a record of who did what, from where and with what result: a file of JSON lines, rotated by size. A call's
// record is on its way to the file before its answer is on its way to the caller.
//
// It must never be given a secret, and knows nothing of protocols: those who serve calls say what a call was.
package audit

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"gopkg.in/natefinch/lumberjack.v2"
)

// Config is what a log is made from.
type Config struct {
	Path  string
	Level string // from which class on calls are in it: all, writes or admin
	// MaxSize is how large the file may get, in MiB; MaxBackups how many former ones are kept; MaxAge how many days, 0 for
	// any number of them.
	MaxSize, MaxBackups, MaxAge int
	Compress                    bool // former files, with gzip
	Logger                      *slog.Logger
	Registry                    prometheus.Registerer
}

// Check is what is wrong with the configuration.
func (c *Config) Check() error {
	switch _, ok := levels[c.Level]; {
	case !ok:
		return fmt.Errorf("--audit-log-level: unknown level %q: admin, writes or all is expected", c.Level)
	case c.MaxSize < 1:
		return fmt.Errorf("--audit-log-max-size must be >0 (set to %d)", c.MaxSize)
	case c.MaxBackups < 1:
		return fmt.Errorf("--audit-log-max-backups must be >0 (set to %d)", c.MaxBackups)
	case c.MaxAge < 0:
		return fmt.Errorf("--audit-log-max-age must not be negative (set to %d)", c.MaxAge)
	}
	return nil
}

const (
	// mostWaiting bounds the lines that wait to be written, in bytes. Whoever has another one waits for room.
	mostWaiting = 1 << 20
	// mostPiece bounds what is written at once, in bytes; it is well below the smallest file.
	mostPiece   = 256 << 10
	repeatEvery = 10 * time.Second // between two messages that the file cannot be written
	closeWithin = 5 * time.Second
)

// Log is an audit log. Its file has one goroutine, which Close ends.
type Log struct {
	cfg   Config
	level Class
	out   io.WriteCloser

	mu      sync.Mutex
	waiting []byte
	room    chan struct{} // closed when there is room again; nil if nobody waits
	closed  bool
	wake    chan struct{}
	ended   chan struct{}

	// The goroutine's own.
	lost     int // records since the last that was written
	torn     bool
	messaged time.Time

	records, losses prometheus.Counter
}

// Open opens the file, so that it is known at once if that cannot be done, and starts the log.
func Open(cfg Config) (*Log, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(cfg.Path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("--audit-log: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("--audit-log: %w", err)
	}
	return newLog(cfg, &lumberjack.Logger{Filename: cfg.Path, MaxSize: cfg.MaxSize, MaxBackups: cfg.MaxBackups, MaxAge: cfg.MaxAge,
		Compress: cfg.Compress}), nil
}

func newLog(cfg Config, out io.WriteCloser) *Log {
	l := &Log{cfg: cfg, level: levels[cfg.Level], out: out, wake: make(chan struct{}, 1), ended: make(chan struct{}),
		records: prometheus.NewCounter(prometheus.CounterOpts{Name: "cairn_audit_records_total", Help: "Records of the audit log."}),
		losses:  prometheus.NewCounter(prometheus.CounterOpts{Name: "cairn_audit_lost_records_total", Help: "Records that could not be written to the audit log."})}
	if cfg.Registry != nil {
		cfg.Registry.MustRegister(l.records, l.losses)
	}
	go l.run()
	return l
}

// Wants reports whether a call of a class is to be in the log. What is refused for who the caller is always is.
func (l *Log) Wants(c Class, refused bool) bool { return c >= l.level || refused }

// Write takes a record if the log is to have it. It waits while too much waits to be written already: nothing is lost because
// there is much of it.
func (l *Log) Write(r *Record) {
	if l.Wants(r.Class, r.Refused) {
		l.add(encode(r.line(time.Now())))
	}
}

// notice is a line about the log itself.
type notice struct {
	Time   string `json:"ts"`
	API    string `json:"api"`
	Method string `json:"method"`
	Member string `json:"member,omitempty"`
	Level  string `json:"level,omitempty"`
	Lost   int    `json:"lost_records,omitempty"`
}

// Note tells in the log that its member starts or stops.
func (l *Log) Note(what, member string) {
	l.add(encode(notice{Time: time.Now().UTC().Format(timeForm), API: "server", Method: what, Member: member, Level: l.cfg.Level}))
}

func (l *Log) add(b []byte) {
	l.mu.Lock()
	for len(l.waiting) > 0 && len(l.waiting)+len(b) > mostWaiting && !l.closed {
		if l.room == nil {
			l.room = make(chan struct{})
		}
		room := l.room
		l.mu.Unlock()
		<-room
		l.mu.Lock()
	}
	closed := l.closed
	if !closed {
		l.waiting = append(l.waiting, b...)
	}
	l.mu.Unlock()
	if closed {
		l.losses.Inc()
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Close writes what waits, unless the disk hangs, and closes the file. Records that come later are lost.
func (l *Log) Close() error {
	l.mu.Lock()
	l.closed = true
	l.free()
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	select {
	case <-l.ended:
		return l.out.Close()
	case <-time.After(closeWithin):
		return errors.New("audit: the file takes too long to be written")
	}
}

// free lets those go on who wait for room. The caller holds mu.
func (l *Log) free() {
	if l.room != nil {
		close(l.room)
		l.room = nil
	}
}

func (l *Log) run() {
	defer close(l.ended)
	var spare []byte
	for range l.wake {
		l.mu.Lock()
		batch, closed := l.waiting, l.closed
		l.waiting = spare[:0]
		l.free()
		l.mu.Unlock()
		for rest := batch; len(rest) > 0; {
			n := piece(rest)
			l.put(rest[:n])
			rest = rest[n:]
		}
		spare = batch
		if closed {
			return
		}
	}
}

// piece is how many bytes of whole lines are written at once: at least one line.
func piece(b []byte) int {
	end := 0
	for end < len(b) {
		n := end + lineLength(b[end:])
		if end > 0 && n > mostPiece {
			break
		}
		end = n
	}
	return end
}

func lineLength(b []byte) int {
	for i, c := range b {
		if c == '\n' {
			return i + 1
		}
	}
	return len(b)
}

// put writes whole lines. What cannot be written is counted, and told in the file once it can be written again.
func (l *Log) put(b []byte) {
	lines := 0
	for rest := b; len(rest) > 0; lines++ {
		rest = rest[lineLength(rest):]
	}
	out := b
	if l.lost > 0 || l.torn {
		var head []byte
		if l.torn {
			head = append(head, '\n')
		}
		if l.lost > 0 {
			head = append(head, encode(notice{Time: time.Now().UTC().Format(timeForm), API: "server", Method: "lost", Lost: l.lost})...)
		}
		out = append(head, b...)
	}
	n, err := l.out.Write(out)
	if err == nil {
		l.records.Add(float64(lines))
		l.lost, l.torn = 0, false
		return
	}
	l.torn = l.torn && n == 0 || n > 0
	l.lost += lines
	l.losses.Add(float64(lines))
	if now := time.Now(); now.Sub(l.messaged) >= repeatEvery {
		l.messaged = now
		l.cfg.Logger.Error("the audit log cannot be written", "path", l.cfg.Path, "lost-records", l.lost, "error", err.Error())
	}
}

package cairn

import (
	"io"
	"log/slog"
	"os"
	"strings"
	"time"
)

// logger writes lines in the fields that etcd's log readers know (server-config.md section 12).
func (c *Config) logger() *slog.Logger {
	if c.Logger != nil {
		return c.Logger
	}
	var level slog.Level
	switch c.LogLevel {
	case "debug":
		level = slog.LevelDebug
	case "warn":
		level = slog.LevelWarn
	case "error", "dpanic", "panic", "fatal":
		level = slog.LevelError
	}
	var out io.Writer = os.Stderr
	switch c.LogOutputs {
	case "stdout":
		out = os.Stdout
	case "default", "stderr", "":
	default:
		if f, err := os.OpenFile(c.LogOutputs, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err == nil {
			out = f
		}
	}
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		switch a.Key {
		case slog.TimeKey:
			return slog.String("ts", a.Value.Time().UTC().Format("2006-01-02T15:04:05.000000Z0700"))
		case slog.LevelKey:
			return slog.String("level", strings.ToLower(a.Value.String()))
		}
		if a.Value.Kind() == slog.KindDuration {
			return slog.String(a.Key, a.Value.Duration().Round(time.Microsecond).String())
		}
		return a
	}}
	if c.LogFormat == "console" {
		return slog.New(slog.NewTextHandler(out, opts))
	}
	return slog.New(slog.NewJSONHandler(out, opts))
}

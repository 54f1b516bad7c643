package cairn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"
)

// Outputs of the log that are not files (server-config.md section 12).
const (
	logDefault = "default" // stderr, which systemd takes into its journal
	logStderr  = "stderr"
	logStdout  = "stdout"
	logJournal = "systemd/journal"
)

var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	"dpanic": slog.LevelError, "panic": slog.LevelError, "fatal": slog.LevelError,
}

// Debug tells whether everything is to be logged.
func (c *Config) Debug() bool { return strings.EqualFold(c.LogLevel, "debug") }

func checkLogger(s string) error {
	switch s {
	case "zap":
		return nil
	case "", "capnslog":
		return errors.New("--logger=capnslog is removed in v3.5: zap is expected")
	}
	return fmt.Errorf("unknown logger option %q: zap is expected", s)
}

// validateLogging checks what can be known of the log's options without opening it.
func (c *Config) validateLogging() error {
	if _, ok := levels[strings.ToLower(c.LogLevel)]; !ok {
		return fmt.Errorf("--log-level: unrecognized level: %q, supported values debug, info, warn, error, panic, fatal", c.LogLevel)
	}
	switch c.LogFormat {
	case "json", "console", "":
	default:
		return fmt.Errorf("--log-format: unknown log format: %s, supported values json, console", c.LogFormat)
	}
	outputs := splitList(c.LogOutputs)
	if len(outputs) > 1 && slices.Contains(outputs, logDefault) {
		return errors.New("--log-outputs: multi logoutput for \"default\" is not supported yet")
	}
	if len(outputs) > 1 && slices.Contains(outputs, logJournal) {
		return fmt.Errorf("--log-outputs: running with systemd/journal but other '--log-outputs' values (%q) are configured", outputs)
	}
	return c.validateRotation()
}

// openLog opens the outputs and tells there what the options had to say. Its lines have the fields that etcd's log
// readers know. The files are to be closed in the end. The level can be changed, but for that of an embedder's logger.
func (c *Config) openLog() (*slog.Logger, *slog.LevelVar, []io.Closer, error) {
	log := c.Logger
	var level *slog.LevelVar
	var files []io.Closer
	if log == nil {
		out, opened, err := c.openOutputs(splitList(c.LogOutputs))
		if err != nil {
			return nil, nil, nil, err
		}
		files, level = opened, new(slog.LevelVar)
		level.Set(levels[strings.ToLower(c.LogLevel)])
		opts := &slog.HandlerOptions{Level: level, ReplaceAttr: zapNames}
		if c.LogFormat == "console" {
			log = slog.New(slog.NewTextHandler(out, opts))
		} else {
			log = slog.New(slog.NewJSONHandler(out, opts))
		}
	}
	for _, n := range c.notes {
		log.Log(context.Background(), n.level, n.msg, n.args...)
	}
	return log, level, files, nil
}

func (c *Config) openOutputs(outputs []string) (io.Writer, []io.Closer, error) {
	var ws everywhere
	var files []io.Closer
	for _, o := range outputs {
		switch o {
		case logDefault, logStderr:
			ws = append(ws, os.Stderr)
		case logStdout:
			ws = append(ws, os.Stdout)
		case logJournal:
			ws = append(ws, openJournal())
		default:
			f, err := os.OpenFile(o, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
			if err != nil {
				closeAll(files)
				return nil, nil, fmt.Errorf("--log-outputs: %w", err)
			}
			if c.EnableLogRotation {
				if err := f.Close(); err != nil {
					closeAll(files)
					return nil, nil, fmt.Errorf("--log-outputs: %w", err)
				}
				how, _ := parseRotation(c.LogRotationConfigJSON) // Validate has seen it
				f := how.rotated(o)
				ws, files = append(ws, f), append(files, f)
				continue
			}
			ws, files = append(ws, f), append(files, f)
		}
	}
	switch len(ws) {
	case 0:
		return os.Stderr, nil, nil
	case 1:
		return ws[0], files, nil
	}
	return ws, files, nil
}

// everywhere writes to all of its outputs, also when one of them fails.
type everywhere []io.Writer

func (ws everywhere) Write(p []byte) (int, error) {
	var errs []error
	for _, w := range ws {
		_, err := w.Write(p)
		errs = append(errs, err)
	}
	return len(p), errors.Join(errs...)
}

// zapNames gives a line's fields the names and forms that zap gives them.
func zapNames(_ []string, a slog.Attr) slog.Attr {
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
}

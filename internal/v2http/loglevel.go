package v2http

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
)

// LogLevel serves /config/local/log: from which level on the member logs, until it ends (H-07).
type LogLevel struct {
	Level  *slog.LevelVar
	Logger *slog.Logger
}

// The levels that etcd 3.4 has names for. The first letter stands for the name.
var logLevels = map[string]slog.Level{
	"CRITICAL": slog.LevelError, "ERROR": slog.LevelError, "WARNING": slog.LevelWarn, "NOTICE": slog.LevelInfo, "INFO": slog.LevelInfo,
	"DEBUG": slog.LevelDebug, "TRACE": slog.LevelDebug,
}

func logLevel(name string) (slog.Level, bool) {
	name = strings.ToUpper(name)
	if level, ok := logLevels[name]; ok || len(name) != 1 {
		return level, ok
	}
	for full, level := range logLevels { // whose first letters differ
		if full[:1] == name {
			return level, true
		}
	}
	return 0, false
}

func (l *LogLevel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !allowed(w, r, http.MethodPut) {
		return
	}
	var q struct{ Level string }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, mostAuth)).Decode(&q); err != nil {
		message(w, http.StatusBadRequest, "Invalid json body")
		return
	}
	level, ok := logLevel(q.Level)
	if !ok {
		message(w, http.StatusBadRequest, "Invalid log level %s", q.Level)
		return
	}
	l.Level.Set(level)
	l.Logger.Info("the log level was changed", "level", level.String())
	w.WriteHeader(http.StatusNoContent)
}

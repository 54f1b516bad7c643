package cairn

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"gopkg.in/natefinch/lumberjack.v2"
)

const defaultRotation = `{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}`

// logRotation is the JSON of --log-rotation-config-json (server-config.md section 2.4). Sizes are in MiB, ages in days; 0 keeps all
// former files.
type logRotation struct {
	MaxSize    int  `json:"maxsize"` // 0 stands for 100
	MaxAge     int  `json:"maxage"`
	MaxBackups int  `json:"maxbackups"`
	LocalTime  bool `json:"localtime"` // in names of files
	Compress   bool `json:"compress"`
}

func parseRotation(s string) (r logRotation, err error) {
	err = json.Unmarshal([]byte(s), &r)
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return r, fmt.Errorf("improperly formatted log rotation config: %w", err)
	case err != nil:
		return r, fmt.Errorf("invalid log rotation config: %w", err)
	case r.MaxSize < 0 || r.MaxAge < 0 || r.MaxBackups < 0:
		return r, errors.New("invalid log rotation config: maxsize, maxage and maxbackups must not be negative")
	}
	return r, nil
}

// validateRotation checks that there is one file to rotate, and how.
func (c *Config) validateRotation() error {
	if !c.EnableLogRotation {
		return nil
	}
	files := 0
	for _, o := range splitList(c.LogOutputs) {
		if isLogFile(o) {
			files++
		}
	}
	if files != 1 {
		return errors.New("--log-outputs requires a single file path when --log-rotate-config-json is defined")
	}
	_, err := parseRotation(c.LogRotationConfigJSON)
	return err
}

func isLogFile(output string) bool {
	switch output {
	case logDefault, logStderr, logStdout, logJournal:
		return false
	}
	return true
}

// rotated writes to a file that is exchanged for a new one when it is full.
func (r *logRotation) rotated(path string) io.WriteCloser {
	return &lumberjack.Logger{Filename: path, MaxSize: r.MaxSize, MaxAge: r.MaxAge, MaxBackups: r.MaxBackups, LocalTime: r.LocalTime,
		Compress: r.Compress}
}

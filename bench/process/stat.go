package process

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the kernel's unit of process time: USER_HZ, which is 100 on every Linux port that Go runs on.
const tick = 10 * time.Millisecond

// CPU is the processor time, user and system, that the server's process has taken since it began.
func (s *Server) CPU() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.Pid()))
	if err != nil {
		return 0, err
	}
	// The second field is the program's name in brackets and may hold spaces: count from the closing one.
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 13 {
		return 0, fmt.Errorf("process: /proc/%d/stat has %d fields", s.Pid(), len(f))
	}
	user, err := strconv.ParseInt(string(f[11]), 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(string(f[12]), 10, 64)
	return time.Duration(user+system) * tick, err
}

// Memory is the resident memory of the process in bytes: now, and at its highest since ResetPeak.
type Memory struct{ Now, Peak, Anonymous int64 }

// Memory reads the resident memory.
func (s *Server) Memory() (m Memory, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Pid()))
	if err != nil {
		return m, err
	}
	for line := range strings.Lines(string(b)) {
		name, rest, _ := strings.Cut(line, ":")
		kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		switch name {
		case "VmRSS":
			m.Now = kib << 10
		case "VmHWM":
			m.Peak = kib << 10
		case "RssAnon":
			m.Anonymous = kib << 10
		}
	}
	return m, nil
}

// ResetPeak makes Memory's Peak start again from now.
func (s *Server) ResetPeak() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.Pid()), []byte("5"), 0)
}

// DiskBytes is the size of all files of the server's data directory.
func (s *Server) DiskBytes() (total int64, err error) {
	err = filepath.WalkDir(s.DataDir(), func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // a file may go while we walk
		}
		if fi, err := d.Info(); err == nil && fi.Mode().IsRegular() {
			total += fi.Size()
		}
		return nil
	})
	return total, err
}

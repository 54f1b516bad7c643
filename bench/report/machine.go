package report

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Machine says where the figures were taken.
type Machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	Kernel     string `json:"kernel"`
	Filesystem string `json:"filesystem"` // of the data directories
	Go         string `json:"go"`
	Date       string `json:"date"`
}

func (m Machine) String() string {
	return fmt.Sprintf("%s: %d cores (%s), Linux %s, data on %s, %s", m.Date, m.Cores, m.CPU, m.Kernel, m.Filesystem, m.Go)
}

// ThisMachine describes the machine and the file system that dir is on.
func ThisMachine(dir string) (Machine, error) {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version(), Date: time.Now().UTC().Format(time.DateOnly)}
	var u syscall.Utsname
	if err := syscall.Uname(&u); err != nil {
		return m, err
	}
	for _, c := range u.Release {
		if c == 0 {
			break
		}
		m.Kernel += string(rune(c))
	}
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return m, err
	}
	for line := range bytes.Lines(b) {
		if name, value, _ := bytes.Cut(line, []byte(":")); string(bytes.TrimSpace(name)) == "model name" {
			m.CPU = string(bytes.TrimSpace(value))
			break
		}
	}
	m.Filesystem, err = filesystem(dir)
	return m, err
}

// filesystem is the type of the mount that dir is in: the one with the longest path.
func filesystem(dir string) (kind string, err error) {
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", err
	}
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	longest := -1
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 3 || len(f[1]) < longest {
			continue
		}
		if rel, err := filepath.Rel(f[1], dir); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			longest, kind = len(f[1]), f[2]
		}
	}
	return kind, nil
}

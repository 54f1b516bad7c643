// Package process builds servers, runs them as child processes and reads what the kernel counts for them. It must never
// know what is measured or compared: it only knows programs, directories, ports and /proc.
package process

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// Kind says which server a program is.
type Kind string

// The servers that are compared.
const (
	Etcd  Kind = "etcd"  // the etcd that this module requires
	Cairn Kind = "cairn" // the cairn of this working tree
)

// Program is a server's executable.
type Program struct {
	Kind Kind
	Path string
}

// Build compiles cairn and etcd into dir and returns both. The Go build cache makes a second call cheap. The variables
// CAIRN_PROGRAM and ETCD_PROGRAM name executables to take in their place, such as a release.
func Build(dir string) (etcd, cairn Program, err error) {
	root, err := moduleDir()
	if err != nil {
		return etcd, cairn, err
	}
	etcd = Program{Etcd, os.Getenv("ETCD_PROGRAM")}
	if etcd.Path == "" {
		etcd.Path = filepath.Join(dir, "etcd")
		if err := build(root, etcd.Path, "./cmd/etcd"); err != nil {
			return etcd, cairn, err
		}
	}
	cairn, err = BuildCairn(dir)
	return etcd, cairn, err
}

// BuildCairn compiles cairn alone.
func BuildCairn(dir string) (Program, error) {
	p := Program{Cairn, os.Getenv("CAIRN_PROGRAM")}
	if p.Path != "" {
		return p, nil
	}
	root, err := moduleDir()
	if err != nil {
		return p, err
	}
	p.Path = filepath.Join(dir, "cairn")
	return p, build(filepath.Dir(root), p.Path, "./cmd/cairn")
}

// BuildOldEtcd compiles the etcd of the minor before into dir.
func BuildOldEtcd(dir string) (Program, error) {
	root, err := moduleDir()
	if err != nil {
		return Program{}, err
	}
	p := Program{Etcd, filepath.Join(dir, "etcd36")}
	return p, build(filepath.Join(root, "cmd", "etcd36"), p.Path, ".")
}

// V2Etcd is an etcd of version 3.4, the last with the v2 API: what ETCD_V2_PROGRAM names, or the distribution's. There may be
// none.
func V2Etcd() (Program, bool) {
	path := os.Getenv("ETCD_V2_PROGRAM")
	if path == "" {
		path = "/usr/bin/etcd"
	}
	out, err := exec.Command(path, "--version").Output()
	if err != nil || !bytes.HasPrefix(out, []byte("etcd Version: 3.4.")) {
		return Program{}, false
	}
	return Program{Etcd, path}, true
}

func build(dir, out, pkg string) error {
	cmd := exec.Command("go", "build", "-o", out, pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("process: go build %s in %s: %w\n%s", pkg, dir, err, bytes.TrimSpace(text))
	}
	return nil
}

// moduleDir is the folder of the bench module, found from this source file.
func moduleDir() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		return "", fmt.Errorf("process: this file's own path is not known")
	}
	return filepath.Dir(filepath.Dir(file)), nil
}

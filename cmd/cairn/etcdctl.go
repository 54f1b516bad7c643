package main

import (
	"io"
	"os"

	"github.com/cairn-kv/cairn"
	"github.com/cairn-kv/cairn/internal/ctl"
	"github.com/cairn-kv/cairn/internal/ctl2"
)

// etcdctl is the command line of the API that ETCDCTL_API names. Programs that commands start do not see the variable.
func etcdctl(args []string) int {
	p := ctl.Program{Args: args, Environ: os.Environ(), V2: etcdctl2}
	if err := os.Unsetenv("ETCDCTL_API"); err != nil {
		panic(err) // it has a name
	}
	return p.Run()
}

// etcdctl2 is the command line of the v2 API.
func etcdctl2(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := ctl2.Program{Args: args, Version: cairn.Version, Stdin: stdin, Stdout: stdout, Stderr: stderr, Backup: func(b ctl2.Backup) error {
		return cairn.Backup(cairn.BackupConfig{DataDir: b.DataDir, WALDir: b.WALDir, To: b.BackupDir, ToWAL: b.BackupWALDir})
	}}
	return p.Run()
}

package ctl2

import (
	"errors"
	"log"
)

func (a *app) backupCommand() *command {
	var b Backup
	var withV3 bool
	// Later tools have to be asked for what v3 keeps; here it is always there.
	ignored := toggle(&withV3, "", "with-v3")
	ignored.hidden = true
	return &command{
		name: "backup", short: "backup an etcd directory",
		options: []option{
			text(&b.DataDir, "Path to the etcd data dir", "data-dir"),
			text(&b.WALDir, "Path to the etcd wal dir", "wal-dir"),
			text(&b.BackupDir, "Path to the backup dir", "backup-dir"),
			text(&b.BackupWALDir, "Path to the backup wal dir", "backup-wal-dir"),
			ignored,
		},
		run: func([]string) error {
			err := errors.New("this program cannot read a member's files")
			switch {
			case b.DataDir == "" || b.BackupDir == "":
				err = errors.New("--data-dir and --backup-dir have to be given")
			case a.Backup != nil:
				err = a.Backup(b)
			}
			if err != nil {
				log.New(a.Stderr, "", log.LstdFlags|log.Lmicroseconds).Print(err)
				return silently(exitFailure)
			}
			return nil
		},
	}
}

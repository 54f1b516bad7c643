package cairn

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"os"
)

const journalSocket = "/run/systemd/journal/socket"

// journal writes lines to systemd's journal, and to the fallback what the journal does not take.
type journal struct {
	conn     net.Conn
	fallback io.Writer
}

// openJournal gives stderr where there is no journal.
func openJournal() io.Writer {
	conn, err := net.Dial("unixgram", journalSocket)
	if err != nil {
		return os.Stderr
	}
	return &journal{conn, os.Stderr}
}

// priorities are syslog's, by how a JSON line shows its level.
var priorities = []struct {
	level    string
	priority string
}{{`"level":"error"`, "3"}, {`"level":"warn"`, "4"}, {`"level":"debug"`, "7"}}

func (j *journal) Write(p []byte) (int, error) {
	line := bytes.TrimSuffix(p, []byte("\n"))
	priority := "6"
	for _, l := range priorities {
		if bytes.Contains(line[:min(len(line), 100)], []byte(l.level)) {
			priority = l.priority
		}
	}
	// The journal's own protocol: NAME=value, or a name, a length and bytes.
	b := []byte("PRIORITY=" + priority + "\nSYSLOG_IDENTIFIER=cairn\nMESSAGE\n")
	b = binary.LittleEndian.AppendUint64(b, uint64(len(line)))
	b = append(append(b, line...), '\n')
	if _, err := j.conn.Write(b); err != nil {
		return j.fallback.Write(p)
	}
	return len(p), nil
}

package cairn

import (
	"fmt"
	"net"
	"sync"
	"syscall"
)

const (
	// reservedFiles are the open files that connections of clients must leave to the member itself (server-config.md section 9):
	// its log, its database, other members.
	reservedFiles = 150
	// leastDatabaseFiles is how many of those are for the database. With more files at hand it may keep more of its own open,
	// which connections then have less of.
	leastDatabaseFiles = 80
	mostDatabaseFiles  = 1024
)

// fileBudget is what the open files of the process are for.
type fileBudget struct{ connections, database int }

// budgetFiles shares out the files that the process may open.
func budgetFiles() (fileBudget, error) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fileBudget{}, fmt.Errorf("cairn: cannot learn how many files may be open: %w", err)
	}
	return shareFiles(l.Cur)
}

// mostFiles is taken for any number beyond it.
const mostFiles = 1 << 20

func shareFiles(limit uint64) (fileBudget, error) {
	if limit <= reservedFiles {
		return fileBudget{}, fmt.Errorf("cairn: file descriptor limit of the process is too low (%d): more than %d are needed, please set it higher (ulimit -n)", limit, reservedFiles)
	}
	n := int(min(limit, mostFiles))
	b := fileBudget{database: min(mostDatabaseFiles, max(leastDatabaseFiles, n/16))}
	b.connections = n - reservedFiles - (b.database - leastDatabaseFiles)
	return b, nil
}

// bound has the entrances share a number of connections. Who comes when all of them are open waits until one is closed.
func (b fileBudget) bound(es ...*entrance) {
	places := make(chan struct{}, b.connections)
	for _, e := range es {
		e.Listener = &boundListener{Listener: e.Listener, places: places, quit: make(chan struct{})}
	}
}

// boundListener gives each connection a place, which it has until it is closed.
type boundListener struct {
	net.Listener
	places chan struct{}
	once   sync.Once
	quit   chan struct{}
}

// Accept holds the connection that has none: the next ones wait in the kernel, or are refused there.
func (l *boundListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	select {
	case l.places <- struct{}{}:
	case <-l.quit:
		_ = c.Close()
		return nil, net.ErrClosed
	}
	leave := sync.OnceFunc(func() { <-l.places })
	switch c := c.(type) { // what else they can do, such as to close one half, is kept
	case *net.TCPConn:
		return &placedTCP{c, leave}, nil
	case *net.UnixConn:
		return &placedUnix{c, leave}, nil
	}
	return &placed{c, leave}, nil
}

// Close ends a wait for a place as well.
func (l *boundListener) Close() error {
	l.once.Do(func() { close(l.quit) })
	return l.Listener.Close()
}

type placed struct {
	net.Conn
	leave func()
}

type placedTCP struct {
	*net.TCPConn
	leave func()
}

type placedUnix struct {
	*net.UnixConn
	leave func()
}

func (c *placed) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

func (c *placedTCP) Close() error {
	defer c.leave()
	return c.TCPConn.Close()
}

func (c *placedUnix) Close() error {
	defer c.leave()
	return c.UnixConn.Close()
}

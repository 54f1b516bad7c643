package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// Server is one server on loopback. It is used by one goroutine at a time.
type Server struct {
	Program Program
	Dir     string   // its own folder: data and log.txt
	Args    []string // flags after the ones that Start sets
	Addr    string   // host:port for clients

	name       string
	peer       string // the address for other members
	peerScheme string // http:// or https://
	advertised string // the URL of it
	initial    string // --initial-cluster
	cmd        *exec.Cmd
	exited     chan struct{}
}

// advertised is what both servers say of themselves, whatever ports they truly use: so their member and cluster IDs,
// which are hashes of it, are the same.
const advertised = "http://127.0.0.1:2380"

// New prepares a server with its data under dir.
func New(p Program, dir string, args ...string) (*Server, error) {
	client, err := FreePort()
	if err != nil {
		return nil, err
	}
	peer, err := FreePort()
	if err != nil {
		return nil, err
	}
	return &Server{Program: p, Dir: dir, Args: args, Addr: client, peer: peer, peerScheme: "http://", name: "default", advertised: advertised,
		initial: "default=" + advertised}, os.MkdirAll(dir, 0o700)
}

// NewCluster prepares the members of a cluster, each with its data in a folder of its own under dir.
func NewCluster(p Program, dir string, n int, args ...string) ([]*Server, error) {
	var out []*Server
	var initial []string
	for i := range n {
		s, err := New(p, filepath.Join(dir, fmt.Sprint(i)), args...)
		if err != nil {
			return nil, err
		}
		s.name, s.advertised = fmt.Sprintf("m%d", i), "http://"+s.peer
		initial = append(initial, s.name+"="+s.advertised)
		out = append(out, s)
	}
	for _, s := range out {
		s.initial = strings.Join(initial, ",")
	}
	return out, nil
}

// Secure has the members of a cluster that is not started yet talk to each other over TLS, with these flags.
func Secure(members []*Server, flags ...string) {
	for _, s := range members {
		s.peerScheme = "https://"
		s.advertised = strings.Replace(s.advertised, "http://", s.peerScheme, 1)
		s.initial = strings.ReplaceAll(s.initial, "http://", s.peerScheme)
		s.Args = append(slices.Clone(s.Args), flags...)
	}
}

// FreePort is a loopback address that was free just now.
func FreePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// DataDir is where the server keeps its data.
func (s *Server) DataDir() string { return filepath.Join(s.Dir, "data") }

// LogFile is where the server's output goes.
func (s *Server) LogFile() string { return filepath.Join(s.Dir, "log.txt") }

// Spawn starts the process and does not wait for it to serve.
func (s *Server) Spawn() error {
	log, err := os.OpenFile(s.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := append([]string{
		"--name", s.name, "--data-dir", s.DataDir(),
		"--listen-client-urls", "http://" + s.Addr, "--advertise-client-urls", "http://127.0.0.1:2379",
		"--listen-peer-urls", s.peerScheme + s.peer, "--initial-advertise-peer-urls", s.advertised,
		"--initial-cluster", s.initial, "--log-level", "warn",
	}, s.Args...)
	s.cmd = exec.Command(s.Program.Path, args...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	// Should the parent be killed, the server goes with it.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.cmd.Env = append(os.Environ(), "ETCD_UNSUPPORTED_ARCH=")
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		_ = cmd.Wait()
		close(exited)
	}(s.cmd, s.exited)
	return nil
}

// Start starts the process and returns when it answers a linearizable read, or says why it does not.
func (s *Server) Start(ctx context.Context) error {
	if err := s.Spawn(); err != nil {
		return err
	}
	if err := s.WaitReady(ctx); err != nil {
		return errors.Join(err, s.Kill())
	}
	return nil
}

// WaitReady returns when the server answers a linearizable read.
func (s *Server) WaitReady(ctx context.Context) error {
	for {
		if err := s.probe(ctx); err == nil {
			return nil
		}
		select {
		case <-s.exited:
			return fmt.Errorf("process: %s ended before it served:\n%s", s.Program.Kind, s.LogTail())
		case <-ctx.Done():
			return fmt.Errorf("process: %s does not serve: %w\n%s", s.Program.Kind, ctx.Err(), s.LogTail())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// probe makes one read on a connection of its own: a shared one would wait in gRPC's reconnect back-off.
func (s *Server) probe(ctx context.Context) error {
	c, err := net.DialTimeout("tcp", s.Addr, time.Second)
	if err != nil {
		return err
	}
	_ = c.Close()
	conn, err := s.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err = pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: []byte("\x00probe"), CountOnly: true})
	if status.Code(err) == codes.InvalidArgument {
		return nil // it serves, and wants to know who asks
	}
	return err
}

// Dial makes a new client connection that takes answers of any size.
func (s *Server) Dial(opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	const most = 1<<31 - 1
	return grpc.NewClient("passthrough:///"+s.Addr, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(most), grpc.MaxCallSendMsgSize(most)),
	}, opts...)...)
}

// Pid is the process id.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Exited is closed when the process has ended.
func (s *Server) Exited() <-chan struct{} { return s.exited }

// Kill ends the process as a power cut would and waits until it is gone.
func (s *Server) Kill() error { return s.end(syscall.SIGKILL) }

// Stop asks the process to end, and kills it after 15 s.
func (s *Server) Stop() error {
	if s.cmd == nil {
		return nil
	}
	timer := time.AfterFunc(15*time.Second, func() { _ = s.cmd.Process.Kill() })
	defer timer.Stop()
	return s.end(syscall.SIGTERM)
}

func (s *Server) end(sig syscall.Signal) error {
	if s.cmd == nil {
		return nil
	}
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-s.exited
	return nil
}

// LogTail is the last lines the server wrote.
func (s *Server) LogTail() string {
	b, err := os.ReadFile(s.LogFile())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

// Dump makes the process write the stacks of its goroutines into its log, and end.
func (s *Server) Dump() { _ = s.cmd.Process.Signal(syscall.SIGQUIT) }

// Pause stops the process where it is, so that it takes no processor time while another one is measured.
func (s *Server) Pause() error { return s.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume lets a paused process go on. One that has ended is left alone.
func (s *Server) Resume() error {
	if err := s.cmd.Process.Signal(syscall.SIGCONT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

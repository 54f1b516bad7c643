// Package cairn runs a member of a cairn cluster: a key-value store that is etcd to its clients. It wires the packages
// below it together, and is the only one that knows them all. A program may embed a member through Start.
package cairn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc"

	"github.com/cairn-kv/cairn/internal/audit"
	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/host"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/password"
	"github.com/cairn-kv/cairn/internal/peer"
	"github.com/cairn-kv/cairn/internal/token"
	"github.com/cairn-kv/cairn/internal/v3rpc"
	"github.com/cairn-kv/cairn/internal/vfs"
	"github.com/cairn-kv/cairn/internal/wal"
)

// Version is the etcd version whose behaviour the server shows.
const Version = "3.7.3"

// Server is a running member.
type Server struct {
	cfg         Config
	log         *slog.Logger
	logLevel    *slog.LevelVar // nil if it cannot be changed
	logFiles    []io.Closer
	host        *host.Host
	peers       *peer.Transport
	others      *peer.Client
	rpc         *v3rpc.Server
	registry    *prometheus.Registry
	serving     *serving
	peerServing *peerServing
	heap        *heapTuner
	secrets     secrets
	files       fileBudget
	tokens      token.Provider
	passwords   *password.Checker
	audit       *audit.Log // nil if there is none
	compact     *autoCompactor
	started     time.Time
	syncs       host.Recent   // of the log
	quit        chan struct{} // closed by Stop
}

// Start opens or creates the data directory, starts the member and begins to serve once it is ready. It returns when
// clients are served, or with the reason why they cannot be.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	log, level, files, err := cfg.openLog()
	if err != nil {
		return nil, err
	}
	s, err := start(ctx, &Server{cfg: cfg, log: log, logLevel: level, logFiles: files, registry: prometheus.NewRegistry(), started: time.Now()})
	if err != nil {
		closeAll(files)
		return nil, err
	}
	return s, nil
}

func start(ctx context.Context, s *Server) (_ *Server, err error) {
	cfg := &s.cfg
	if s.passwords, err = password.New(password.Config{Cost: s.bcryptCost()}); err != nil {
		return nil, err
	}
	s.tokens, err = token.New(token.Config{Options: cfg.AuthToken, TTL: time.Duration(cfg.AuthTokenTTL) * time.Second, Logger: s.log,
		Await: func(ctx context.Context, index uint64) error { return s.host.AwaitApplied(ctx, index) }})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.tokens.Close()
		}
	}()
	if err = s.openAudit(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = s.closeAudit()
		}
	}()
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	// The addresses come first: a member that nobody can reach should not touch its data.
	if s.files, err = budgetFiles(); err != nil {
		return nil, err
	}
	if s.secrets, err = cfg.openTLS(s.log); err != nil {
		return nil, err
	}
	// Whoever can speak HTTP/1 gets that: HTTP/2 is for gRPC.
	listeners, err := listen(cfg.ListenClientURLs, s.secrets.clients, "http/1.1", "h2")
	if err != nil {
		return nil, err
	}
	metrics, err := listen(cfg.ListenMetricsURLs, s.secrets.clients, "http/1.1")
	if err != nil {
		closeAll(listeners)
		return nil, err
	}
	peers, err := listen(cfg.ListenPeerURLs, s.secrets.peers, "http/1.1")
	if err != nil {
		closeAll(append(listeners, metrics...))
		return nil, err
	}
	s.files.bound(append(listeners, metrics...)...) // members come in even so
	s.servePeers(peers)
	s.heap = startHeapTuner()
	defer func() {
		if err != nil {
			s.heap.stop()
		}
	}()
	if err := s.open(ctx); err != nil {
		closeAll(append(listeners, metrics...))
		return nil, errors.Join(err, s.peerServing.stop())
	}
	s.peerServing.letIn(s.peerHandler())
	select {
	case <-s.host.Ready():
	case <-s.host.Departed():
		err = errors.New("the member has been permanently removed from the cluster")
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		closeAll(append(listeners, metrics...))
		return nil, errors.Join(err, s.host.Stop(), s.peerServing.stop())
	}
	if err := s.serve(listeners, metrics); err != nil {
		return nil, errors.Join(err, s.host.Stop(), s.peerServing.stop())
	}
	s.quit = make(chan struct{})
	go s.awaitDeparture()
	keep, _ := s.cfg.compaction() // Validate has seen it
	s.compact = startCompactor(s.host, keep, s.log.Warn)
	s.noteAudit("start")
	s.log.Info("ready to serve client requests")
	return s, nil
}

// open brings log, database and machine together and starts the host.
func (s *Server) open(ctx context.Context) (err error) {
	cfg := &s.cfg
	fs := vfs.OS()
	dir := filepath.Join(cfg.DataDir, "member")
	if err := refuseForeign(dir); err != nil {
		return err
	}
	walDir := cfg.WALDir
	if walDir == "" {
		walDir = filepath.Join(dir, "wal")
	}
	fresh := !wal.Exists(fs, walDir)
	s.others = peer.NewClient(s.secrets.peers.Client, askWithin)
	begin := &origin{}
	if fresh { // later on, the log tells, whatever the options are
		if err := s.discover(ctx); err != nil {
			return err
		}
		if begin, err = cfg.origin(ctx, s.others); err != nil {
			return err
		}
	}
	if err := makeDir(fs, dir); err != nil {
		return fmt.Errorf("cairn: cannot make the data directory %s: %w", cfg.DataDir, err)
	}
	if fi, err := os.Stat(cfg.DataDir); err == nil && fi.Mode().Perm()&0o077 != 0 {
		s.log.Warn("check file permission", "error", fmt.Sprintf("directory %q exist, but the permission is %q. The recommended permission is %q to prevent possible unprivileged access to the data",
			cfg.DataDir, fi.Mode().String(), "-rwx------"))
	}
	if !fresh && (cfg.Discovery.URL != "" || cfg.Discovery.SRV != "") {
		s.log.Warn("discovery options are passed over: the member belongs to a cluster already")
	}
	metrics := host.NewMetrics(s.registry)
	walOpts := wal.Options{Background: true, OnSync: func(d time.Duration) {
		metrics.Fsync.Observe(d.Seconds())
		s.syncs.Add(d)
	},
		OnWrite: func(n int, d time.Duration) {
			metrics.WALWrite.Observe(d.Seconds())
			metrics.WALBytes.Add(float64(n))
		}}
	if fresh {
		s.log.Info("starting local member", "local-member-id", begin.me.ID.String(), "cluster-id", begin.id.String(), "name", cfg.Name, "joining", begin.join)
		if err := begin.create(fs, walDir, walOpts); err != nil {
			return err
		}
	}
	log, rec, err := wal.Open(fs, walDir, walOpts)
	if err != nil {
		return err
	}
	opened := []io.Closer{log}
	defer func() {
		if err != nil {
			closeAll(opened)
		}
	}()
	if rec.Repaired != nil {
		s.log.Warn("the log's end was torn and has been repaired", "repair", fmt.Sprint(*rec.Repaired))
	}
	st := &stores{fs: fs, dir: dir, openFiles: s.files.database, cfg: machine.Config{MinLeaseTTLSeconds: cfg.minLeaseTTL(), MaxLearners: cfg.MaxLearners}}
	m, err := st.open(rec.Start.Index)
	if err != nil {
		return err
	}
	opened = append(opened, m.Engine())
	if m.Applied() < rec.Start.Index {
		return fmt.Errorf("cairn: the database in %s is missing or older (index %d) than the log in %s, which starts at index %d: restore the data directory from a backup",
			dir, m.Applied(), walDir, rec.Start.Index)
	}
	if cfg.ForceNewCluster && !fresh {
		s.log.Warn("forcing a new cluster of this member alone: all other members are removed from it")
		if err := standAlone(log, rec, m.View().Cluster); err != nil {
			return err
		}
	}
	s.log.Info("opened data directory", "dir", cfg.DataDir, "applied-index", m.Applied(), "log-entries", len(rec.Entries),
		"revision", m.View().KV.Rev(), "took", time.Since(s.started).String())
	s.host, err = host.Start(host.Config{
		MemberID: cluster.ID(rec.Metadata.NodeID), ClusterID: cluster.ID(rec.Metadata.ClusterID),
		Name: cfg.Name, ClientURLs: urlStrings(cfg.AdvertiseClientURLs), Version: Version,
		Tick: cfg.HeartbeatInterval, ElectionTicks: cfg.electionTicks(), PreVote: cfg.PreVote,
		MaxRequestBytes: cfg.MaxRequestBytes, QuotaBytes: cfg.quota(), DataDir: cfg.DataDir, FS: fs,
		CheckAtStart: cfg.checkAtStart(), CompareEvery: cfg.compareEvery(), DowngradeEvery: cfg.DowngradeCheckTime, Mirror: cfg.mirror(), Sessions: s.tokens, KeepEntries: cfg.KeepEntries, StrictChecks: cfg.StrictReconfigCheck,
		Machine: m, Log: log, Recovered: rec, Logger: s.log, Metrics: metrics,
		Connect: s.connect, Peers: begin.members, Others: s.others, Stores: st,
	})
	if err != nil {
		return err
	}
	s.rpc = v3rpc.New(s.host, v3rpc.Config{
		Version: Version, MaxRequestBytes: cfg.MaxRequestBytes, MaxTxnOps: cfg.MaxTxnOps, MaxStreams: cfg.streams(),
		QuotaBytes: cfg.QuotaBackendBytes, ProgressInterval: cfg.WatchProgressInterval, ElectionTimeout: cfg.ElectionTimeout,
		KeepaliveMinTime: cfg.KeepaliveMinTime, KeepaliveInterval: cfg.KeepaliveInterval, KeepaliveTimeout: cfg.KeepaliveTimeout,
		Tokens: s.tokens, Passwords: s.passwords, ClientCertAuth: cfg.ClientTLS.ClientCertAuth, Options: []grpc.ServerOption{grpc.Creds(newFromEntrance())},
		Audit: s.audit, Logger: s.log, Metrics: v3rpc.NewMetrics(s.registry, cfg.Metrics == metricsExtensive),
	})
	s.rpc.RegisterHealer(s)
	return nil
}

// create makes the log of a member that begins. All first members begin with the same entries; one that joins has none.
func (o *origin) create(fs vfs.FS, dir string, opts wal.Options) error {
	if err := makeDir(fs, filepath.Dir(dir)); err != nil {
		return err
	}
	log, err := wal.Create(fs, dir, wal.Metadata{NodeID: uint64(o.me.ID), ClusterID: uint64(o.id)}, opts)
	if err != nil || o.join {
		return errors.Join(err, closeLog(log))
	}
	entries, err := cluster.BootstrapEntries(o.members)
	if err != nil {
		return errors.Join(err, log.Close())
	}
	hs := &raftpb.HardState{Term: new(uint64(1)), Vote: new(uint64(0)), Commit: new(uint64(len(entries)))}
	return errors.Join(log.Append(hs, entries, true), log.Close())
}

func closeLog(l *wal.Log) error {
	if l == nil {
		return nil
	}
	return l.Close()
}

// makeDir makes a directory and makes its name durable, with those of the directories above that it had to make: what
// is in a directory is lost with its name.
func makeDir(fs vfs.FS, dir string) error {
	if _, err := fs.Stat(dir); err == nil {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeDir(fs, parent); err != nil {
			return err
		}
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return vfs.SyncDir(fs, parent)
}

// refuseForeign keeps the member from starting beside the files of an etcd server.
func refuseForeign(dir string) error {
	if fi, err := os.Stat(filepath.Join(dir, "snap", "db")); err == nil && fi.Mode().IsRegular() {
		return fmt.Errorf("cairn: %s holds an etcd server's database: take a snapshot of it with `etcdctl snapshot save` and start with another --data-dir", dir)
	}
	return nil
}

// Stop ends the member: clients first, then the node; what was acknowledged is on disk when it returns.
func (s *Server) Stop() error {
	close(s.quit)
	s.compact.stop()
	s.heap.stop()
	s.serving.stop(s.rpc, s.host.RequestTimeout())
	err := errors.Join(s.host.Stop(), s.peerServing.stop())
	s.tokens.Close()
	s.noteAudit("stop")
	err = errors.Join(err, s.closeAudit())
	closeAll(s.logFiles)
	return err
}

// Addrs are the addresses that clients are served on.
func (s *Server) Addrs() []net.Addr { return s.serving.addrs() }

// URL is the first of the addresses that clients are served on.
func (s *Server) URL() string { return s.serving.listeners[0].URL() }

// OwnCertificate is the file of the certificate that the member has made itself for its clients, "" if there is none.
func (s *Server) OwnCertificate() string {
	if s.secrets.clients == nil || !s.cfg.ClientTLS.auto() {
		return ""
	}
	return s.secrets.clients.Cert()
}

// awaitDeparture ends serving when the member is removed from its cluster.
func (s *Server) awaitDeparture() {
	select {
	case <-s.host.Departed():
		s.serving.end(nil)
	case <-s.quit:
	}
}

// Done is closed when serving has ended by itself; Err tells why. It is nil for a member that was removed from its
// cluster.
func (s *Server) Done() <-chan struct{} { return s.serving.done }

// Err is why serving ended.
func (s *Server) Err() error { return s.serving.err }

func closeAll[C io.Closer](cs []C) {
	for _, c := range cs {
		_ = c.Close()
	}
}

// DataDir is the directory of the member's data.
func (s *Server) DataDir() string { return s.cfg.DataDir }

package measure

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/cairn-kv/cairn/bench/process"
)

// subject is a server that is measured, or the leader of a cluster, with all its members.
type subject struct {
	*process.Server
	plan    *Plan
	members []*process.Server
	spread  bool // clients connect to all members, not to the leader

	way     []grpc.DialOption // how clients connect otherwise
	tlsAddr string            // where the server has TLS, if it has
	tls     *tls.Config       // for those who go there
}

const startLimit = 2 * time.Minute

func newSubject(ctx context.Context, p process.Program, dir string, plan *Plan, args ...string) (*subject, error) {
	sv, err := process.New(p, dir, args...)
	if err != nil {
		return nil, err
	}
	s := &subject{Server: sv, plan: plan}
	return s, s.start(ctx)
}

// newSecureSubject is one that clients may reach over TLS, too.
func newSecureSubject(ctx context.Context, p process.Program, dir string, plan *Plan, args ...string) (*subject, error) {
	sv, err := process.New(p, dir)
	if err != nil {
		return nil, err
	}
	s := &subject{Server: sv, plan: plan}
	if s.tlsAddr, err = process.FreePort(); err != nil {
		return nil, err
	}
	var files []string
	if files, s.tls, err = certify(dir); err != nil {
		return nil, err
	}
	sv.Args = append(append(args, files...), "--listen-client-urls", "http://"+sv.Addr+",https://"+s.tlsAddr)
	return s, s.start(ctx)
}

func (s *subject) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	return s.Start(ctx)
}

// dial opens n connections and waits until they are there.
func (s *subject) dial(ctx context.Context, n int) (conns, error) {
	var cs conns
	for range n {
		to := s.Server
		if s.spread {
			to = s.members[len(cs)%len(s.members)]
		}
		c, err := to.Dial(append([]grpc.DialOption{grpc.WithDisableRetry(), grpc.WithDisableServiceConfig()}, s.way...)...)
		if err != nil {
			return nil, errors.Join(err, cs.close())
		}
		cs = append(cs, c)
	}
	return cs, each(n, func(i int) error {
		var n int
		if err := cs[i].Invoke(ctx, methodRange, rangeBody([]byte("none")), &n, raw); err != nil {
			return fmt.Errorf("measure: %s: %w", s.Program.Kind, err)
		}
		return nil
	})
}

type conns []*grpc.ClientConn

func (cs conns) close() (err error) {
	for _, c := range cs {
		err = errors.Join(err, c.Close())
	}
	return err
}

// settle lets the server end what it does behind its answers.
func (s *subject) settle() { time.Sleep(s.plan.Settle) }

// each runs f for 0 to n-1 at once and returns when all have ended.
func each(n int, f func(i int) error) error {
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	for _, err := range errs { // one is enough to say what is wrong: the others are mostly its echo
		if err != nil {
			return err
		}
	}
	return nil
}

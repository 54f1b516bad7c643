package v3rpc

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/cairn-kv/cairn/internal/wire"
)

type client struct {
	net.Addr
	aborted *bool
	end     func()
}

func (c *client) Abort()                         { *c.aborted = true }
func (c *client) OnEnd(f func()) (forget func()) { c.end = f; return func() { c.end = nil } }
func (c *client) Network() string                { return "tcp" }
func (c *client) String() string                 { return "" }

func calledBy(aborted *bool) context.Context {
	return peer.NewContext(context.Background(), &peer.Peer{Addr: &client{aborted: aborted}})
}

// all reports whether everything has been given back.
func (r *room) all() bool {
	if !r.sem.TryAcquire(r.size) {
		return false
	}
	r.sem.Release(r.size)
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.held) == 0
}

// answerOf is a frame of many small records.
func answerOf(n int) *wire.Frame {
	b := wire.NewBuilder(n)
	for left := n; left > 0; left -= 1000 {
		b.Room(1000, left)
		b.SetBuf(append(b.Buf(), make([]byte, 1000)...))
	}
	return b.Frame()
}

// An answer gives its room back as gRPC frees what it has sent, whichever buffer comes last; so does one that is not sent.
func TestRoomIsGivenBackAsAnswersGo(t *testing.T) {
	r := newRoom(4 << 20)
	c := codec{NewMetrics(prometheus.NewRegistry(), false)}
	for _, n := range []int{3 << 20, 9 << 20} { // one is larger than all there is
		h, err := r.take(context.Background(), int64(n))
		require.NoError(t, err)
		require.Nil(t, r.try(context.Background(), 2<<20))
		out, err := c.Marshal(held(answerOf(n), h))
		require.NoError(t, err)
		require.Greater(t, len(out), 10)
		for i, b := range out {
			require.Equal(t, false, r.all(), i)
			out[len(out)-1-i].Free()
			_ = b
		}
		require.True(t, r.all())
	}
	h := r.try(context.Background(), 1<<20)
	f := held(answerOf(1<<20), h)
	f.Drop()
	require.True(t, r.all())
	h = r.try(context.Background(), 1<<20)
	_, err := c.Marshal(held(answerOf(10), h)) // has no chunks
	require.NoError(t, err)
	require.True(t, r.all())
	require.ErrorIs(t, r.try(context.Background(), 1<<20).end(wire.ErrNoLeader), wire.ErrNoLeader)
	require.ErrorIs(t, (*hold)(nil).end(wire.ErrNoLeader), wire.ErrNoLeader)
	require.True(t, r.all())
}

// Who waits goes when the call does, and comes in turn otherwise.
func TestRoomIsTakenInTurn(t *testing.T) {
	r := newRoom(4 << 20)
	first, err := r.take(context.Background(), 4<<20)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	left, came := make(chan error), make(chan *hold)
	go func() { _, err := r.take(ctx, 4<<20); left <- err }()
	cancel()
	require.ErrorContains(t, <-left, "context canceled")
	go func() {
		h, _ := r.take(context.Background(), 4<<20)
		came <- h
	}()
	select {
	case <-came:
		t.Fatal("there is no room")
	case <-time.After(20 * time.Millisecond):
	}
	first.release()
	first.release() // counts once
	(<-came).release()
	require.True(t, r.all())
}

// Who takes too little is cut off, whoever takes enough is not.
func TestSlowReadersAreEnded(t *testing.T) {
	r := newRoom(100 << 20)
	var stalled, slow, quick bool
	holds := map[*bool]*hold{}
	for _, b := range []*bool{&stalled, &slow, &quick} {
		holds[b], _ = r.take(calledBy(b), 30<<20)
	}
	now := time.Now()
	tick := func() {
		now = now.Add(graceToRead)
		r.endSlow(now)
	}
	for range 3 { // all begin well
		for _, h := range holds {
			h.Sent(3<<20, false)
		}
		tick()
	}
	require.False(t, stalled || slow || quick)
	holds[&slow].Sent(1<<20, false)
	holds[&quick].Sent(3<<20, false)
	r.endSlow(now.Add(graceToRead - time.Second)) // not yet
	require.False(t, stalled || slow || quick)
	tick()
	require.True(t, stalled && slow)
	require.False(t, quick)
	for _, h := range holds {
		h.Sent(0, true)
	}
	require.True(t, r.all())
}

// What is on its way to a client that is gone is held no longer: gRPC does not free it.
func TestRoomOfAnEndedConnection(t *testing.T) {
	r := newRoom(4 << 20)
	c := &client{aborted: new(bool)}
	ctx := peer.NewContext(context.Background(), &peer.Peer{Addr: c})
	h, err := r.take(ctx, 3<<20)
	require.NoError(t, err)
	h.Sent(1<<20, false)
	require.False(t, r.all())
	end := c.end
	end()
	require.True(t, r.all())
	require.Nil(t, c.end)
	h.Sent(2<<20, true) // some of it is freed nevertheless
	require.True(t, r.all())
	h, err = r.take(ctx, 3<<20)
	require.NoError(t, err)
	h.Sent(3<<20, true)
	require.True(t, r.all())
	require.Nil(t, c.end, "nothing is left with the connection")
}

// The gateway's calls hold more, until their clients have the answer; a call whose client has left holds nothing after that.
func TestRoomOfTheGateway(t *testing.T) {
	s := &Server{gate: &gate{core: &core{answers: newRoom(10 << 20)}}}
	r := s.gate.answers
	ctx := peer.NewContext(context.Background(), &peer.Peer{Addr: memory{}})
	ctx = metadata.NewIncomingContext(ctx, metadata.Pairs(CallKey, "forged", CallKey, "7"))
	s.CallBegan("7")
	h, err := r.take(ctx, 2<<20)
	require.NoError(t, err)
	require.Nil(t, r.try(ctx, 1), "it counts five times")
	h.Sent(2<<20, true)
	require.False(t, r.all())
	s.CallEnded("7")
	require.True(t, r.all())
	h, err = r.take(ctx, 2<<20) // comes after its client has left
	require.NoError(t, err)
	h.Sent(2<<20, true)
	require.True(t, r.all())
	s.CallEnded("7")
	require.True(t, r.all())
	require.Empty(t, r.calls)
	// From outside the names mean nothing.
	var b bool
	out := metadata.NewIncomingContext(calledBy(&b), metadata.Pairs(CallKey, "7", AddressKey, "x"))
	require.Empty(t, gatewayCall(out))
	_, gateway := source(metadata.NewIncomingContext(peer.NewContext(context.Background(), &peer.Peer{Addr: &net.TCPAddr{Port: 5}}), metadata.Pairs(AddressKey, "x")))
	require.False(t, gateway)
	from, gateway := source(metadata.NewIncomingContext(ctx, metadata.Pairs(AddressKey, "forged", AddressKey, "1.2.3.4:5")))
	require.True(t, gateway)
	require.Equal(t, "1.2.3.4:5", from)
}

type memory struct{}

func (memory) Network() string { return memoryNetwork }
func (memory) String() string  { return memoryNetwork }

package security

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding/gzip"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// closedWithin waits until the other side has had enough.
func closedWithin(c net.Conn, d time.Duration) error {
	_ = c.SetReadDeadline(time.Now().Add(d))
	_, err := io.Copy(io.Discard, c)
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return nil
	}
	if err == nil {
		err = io.EOF
	}
	return err
}

// handshakeLimit is how long a connection may take to become one, and a little more.
const handshakeLimit = 15 * time.Second

// loadAttempts keep the server busy, waiting, or full.
func loadAttempts() (out []attempt) {
	slow := func(name string, addr func(w *world) string, begin func(w *world, t *testing.T, c net.Conn) net.Conn) {
		out = append(out, attempt{name: name, waits: true, run: func(w *world, t *testing.T) outcome {
			c, err := net.Dial("tcp", addr(w))
			if err != nil {
				return refused(err)
			}
			defer c.Close()
			if begin != nil {
				c = begin(w, t, c)
			}
			return unless(closedWithin(c, handshakeLimit), "a connection that is kept")
		}})
	}
	for _, d := range doors() {
		slow("silence at the door for "+d.name, d.addr, nil)
		slow("half a hello to "+d.name, d.addr, func(_ *world, _ *testing.T, c net.Conn) net.Conn {
			_, _ = c.Write([]byte{22, 3, 1, 2, 0, 1, 0})
			return c
		})
	}
	secured := func(w *world, t *testing.T, c net.Conn) net.Conn {
		s := tls.Client(c, func() *tls.Config {
			c := w.tls(t, w.nobody)
			c.ServerName, c.NextProtos = "127.0.0.1", []string{"h2"}
			return c
		}())
		_ = s.HandshakeContext(t.Context())
		return s
	}
	clients := doors()[0].addr
	slow("silence after the handshake", clients, secured)
	slow("half of HTTP/2", clients, func(w *world, t *testing.T, c net.Conn) net.Conn {
		c = secured(w, t, c)
		_, _ = io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM")
		return c
	})
	slow("a first frame that is none", clients, func(w *world, t *testing.T, c net.Conn) net.Conn {
		c = secured(w, t, c)
		_, _ = io.WriteString(c, http2.ClientPreface+"\xff\xff\xff\x04\x00\x00\x00\x00\x00")
		return c
	})

	frames := func(name string, attack func(f *http2.Framer, w io.Writer) error) {
		out = append(out, attempt{name: "HTTP/2, " + name, run: func(w *world, t *testing.T) outcome {
			c, err := net.Dial("tcp", w.Members[0].Client)
			if err != nil {
				return refused(err)
			}
			defer c.Close()
			c = secured(w, t, c)
			_ = c.SetDeadline(deadline())
			_, _ = io.WriteString(c, http2.ClientPreface)
			f := http2.NewFramer(c, c)
			_ = f.WriteSettings()
			gone := make(chan error, 1)
			go func() { _, err := io.Copy(io.Discard, c); gone <- errors.Join(err, io.EOF) }()
			for {
				if err := attack(f, c); err != nil {
					return refused(err)
				}
				select {
				case err := <-gone:
					return refused(err)
				default:
				}
			}
		}})
	}
	head := func(pairs ...string) []byte {
		var b bytes.Buffer
		e := hpack.NewEncoder(&b)
		for i := 0; i < len(pairs); i += 2 {
			_ = e.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
		}
		return b.Bytes()
	}
	call := head(":method", "POST", ":scheme", "https", ":path", pb.KV_Range_FullMethodName, ":authority", "a", "content-type", "application/grpc", "te", "trailers")
	frames("pings without an end", func(f *http2.Framer, _ io.Writer) error { return f.WritePing(false, [8]byte{}) })
	frames("a head without an end", func() func(f *http2.Framer, _ io.Writer) error {
		first := true
		return func(f *http2.Framer, _ io.Writer) error {
			if first {
				first = false
				return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: call})
			}
			return f.WriteContinuation(1, false, bytes.Repeat(head("x-y", string(bytes.Repeat([]byte("z"), 1000))), 10))
		}
	}())
	frames("a frame that is too large", func(_ *http2.Framer, w io.Writer) error {
		_, err := w.Write(append([]byte{0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1}, make([]byte, 1<<16)...))
		return err
	})
	frames("a stream that was used", func(f *http2.Framer, _ io.Writer) error {
		return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: call, EndHeaders: true, EndStream: true})
	})

	rpc := func(name string, do func(ctx context.Context, c *grpc.ClientConn, token string) error) {
		out = append(out, attempt{name: name, run: func(w *world, t *testing.T) outcome {
			return unless(do(bearing(t, w.token(t, "eve", "eve")), w.conn(t, w.Members[0], w.nobody), ""), "an answer")
		}})
	}
	rpc("a request that is too large", func(ctx context.Context, c *grpc.ClientConn, _ string) error {
		_, err := pb.NewKVClient(c).Put(ctx, &pb.PutRequest{Key: []byte("app/big"), Value: make([]byte, 2<<20)})
		return err
	})
	rpc("a request that unpacks to more", func(ctx context.Context, c *grpc.ClientConn, _ string) error {
		_, err := pb.NewKVClient(c).Put(ctx, &pb.PutRequest{Key: []byte("app/big"), Value: make([]byte, 1<<26)}, grpc.UseCompressor(gzip.Name))
		return err
	})
	rpc("txns in txns without an end", func(ctx context.Context, c *grpc.ClientConn, _ string) error {
		q := then(opPut(put("app/deep")))
		for range 5000 {
			q = then(opTxn(q))
		}
		_, err := pb.NewKVClient(c).Txn(ctx, q)
		return err
	})
	rpc("too many operations", func(ctx context.Context, c *grpc.ClientConn, _ string) error {
		q := &pb.TxnRequest{}
		for i := range 129 {
			q.Success = append(q.Success, opPut(put(fmt.Sprintf("app/%d", i))))
		}
		_, err := pb.NewKVClient(c).Txn(ctx, q)
		return err
	})
	rpc("a body that is cut", func(ctx context.Context, c *grpc.ClientConn, _ string) error {
		st, err := c.NewStream(ctx, &grpc.StreamDesc{}, pb.KV_Put_FullMethodName, grpc.ForceCodec(rawCodec{}))
		if err != nil {
			return err
		}
		body := []byte("\x0a\xff\xff\xff\xff\x0fapp/x")
		if err := st.SendMsg(&body); err != nil {
			return err
		}
		return st.RecvMsg(&body)
	})
	rpc("a method that there is not", func(ctx context.Context, c *grpc.ClientConn, _ string) error {
		return c.Invoke(ctx, "/etcdserverpb.KV/Steal", &pb.RangeRequest{}, &pb.RangeResponse{})
	})
	out = append(out, attempt{name: "streams that are begun and broken off", run: func(w *world, t *testing.T) outcome {
		c, err := net.Dial("tcp", w.Members[0].Client)
		if err != nil {
			return refused(err)
		}
		defer c.Close()
		c = secured(w, t, c)
		_ = c.SetDeadline(deadline())
		_, _ = io.WriteString(c, http2.ClientPreface)
		f := http2.NewFramer(c, c)
		_ = f.WriteSettings()
		go func() { _, _ = io.Copy(io.Discard, c) }()
		for id := uint32(1); id < 40_000; id += 2 {
			if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: call, EndHeaders: true}); err != nil {
				return refused(err)
			}
			if err := f.WriteRSTStream(id, http2.ErrCodeCancel); err != nil {
				return refused(err)
			}
		}
		w.healthy(t, w.Members[0])
		return refused(errors.New("20,000 streams have come to nothing"))
	}})
	return out
}

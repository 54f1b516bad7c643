package security

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// memberAttempts come to the peer listener: as a client, and as somebody who has a member's certificate but is none.
func memberAttempts() (out []attempt) {
	try := func(name, method, path string, header map[string]string, body func(w *world) io.Reader) {
		out = append(out, attempt{name: name, run: func(w *world, t *testing.T) outcome {
			c := untrusting()
			c.Certificates = []tls.Certificate{w.peer.TLS(t)}
			var b io.Reader
			if body != nil {
				b = body(w)
			}
			q, err := http.NewRequestWithContext(t.Context(), method, "https://"+w.Members[0].Peer+path, b)
			if err != nil {
				return refused(err)
			}
			for k, v := range header {
				q.Header.Set(k, v)
			}
			way := &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}
			r, err := (&http.Client{Transport: way, Timeout: patience}).Do(q)
			if err != nil {
				return refused(err)
			}
			defer r.Body.Close()
			text, err := io.ReadAll(io.LimitReader(r.Body, 4096))
			return answer{r.StatusCode, string(text), err}.judged()
		}})
	}
	foreign := map[string]string{"X-Etcd-Cluster-ID": "cdf818194e3a8c32", "X-Server-Version": "3.7.3", "X-Min-Cluster-Version": "3.0.0", "X-Server-From": "1"}
	message := func(*world) io.Reader {
		b, _ := proto.Marshal(&raftpb.Message{Type: raftpb.MessageType_MsgHeartbeat.Enum(), Term: proto.Uint64(1 << 60), From: proto.Uint64(1), Commit: proto.Uint64(1 << 60)})
		return bytes.NewReader(b)
	}
	try("a message of another cluster", "POST", "/raft", foreign, message)
	try("a message of no cluster", "POST", "/raft", nil, message)
	try("a stream of another cluster", "GET", "/raft/stream/msgapp/1", foreign, nil)
	try("a stream to a member that is none", "GET", "/raft/stream/message/zz", foreign, nil)
	try("an image of another cluster", "POST", "/raft/snapshot", foreign, message)
	try("an image for anybody", "GET", "/cairn/image", nil, nil)
	try("a client's request", "POST", "/v3/kv/range", nil, func(*world) io.Reader { return bytes.NewBufferString(secretBody) })
	try("a v2 request", "GET", "/v2/keys/secret/key", nil, nil)
	try("promote a member as nobody", "POST", "/members/promote/1", nil, nil)
	try("a lease of nobody's", "POST", "/leases", nil, func(*world) io.Reader { return bytes.NewBufferString("\x08\x01") })
	try("a path that is none", "GET", "/raft/../debug/pprof/heap", nil, nil)
	try("a hash of another cluster", "GET", "/members/hashkv", foreign, func(*world) io.Reader { return bytes.NewBufferString(`{"revision":1}`) })

	// A body without an end holds no memory and no door for ever.
	for _, path := range []string{"/raft", "/leases", "/leases/internal", "/members/hashkv"} {
		out = append(out, attempt{name: "an endless body to " + path, run: func(w *world, t *testing.T) outcome {
			c := untrusting()
			c.Certificates = []tls.Certificate{w.peer.TLS(t)}
			conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", w.Members[0].Peer, c)
			if err != nil {
				return refused(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(patience))
			if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", path); err != nil {
				return refused(err)
			}
			chunk := append(append([]byte("100000\r\n"), make([]byte, 1<<20)...), '\r', '\n')
			for range 600 {
				if _, err := conn.Write(chunk); err != nil {
					return refused(err)
				}
			}
			return through("600 MB were taken")
		}})
	}
	return out
}

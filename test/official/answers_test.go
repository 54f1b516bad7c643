package official

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
)

// megabytes is how much of something a process holds, as the kernel tells it.
func (p *process) megabytes(what string) int {
	p.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	require.NoError(p.t, err)
	for l := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(l, what+":"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			require.NoError(p.t, err)
			return n >> 10
		}
	}
	p.t.Fatalf("the kernel does not tell %s", what)
	return 0
}

// forgetPeak lets VmHWM begin anew.
func (p *process) forgetPeak() {
	p.t.Helper()
	require.NoError(p.t, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0))
}

// fillMB puts so many megabytes of values of a size.
func fillMB(t *testing.T, c *clientv3.Client, prefix string, megabytes, size int) {
	value := strings.Repeat("v", size)
	each := max(1, min(128, (1<<20)/size))
	var ops []clientv3.Op
	for i := range megabytes << 20 / size {
		ops = append(ops, clientv3.OpPut(fmt.Sprintf("%s%08d", prefix, i), value))
		if len(ops) == each {
			_, err := c.Txn(context.Background()).Then(ops...).Commit()
			require.NoError(t, err)
			ops = nil
		}
	}
	_, err := c.Txn(context.Background()).Then(ops...).Commit()
	require.NoError(t, err)
}

// reader makes calls and throws the answers away, so that only the server holds them. Each has a connection of its own.
func reader() *http.Transport {
	plain := new(http.Protocols)
	plain.SetUnencryptedHTTP2(true)
	return &http.Transport{DisableCompression: true, Protocols: plain}
}

func frame(t *testing.T, m proto.Message) []byte {
	body, err := proto.Marshal(m)
	require.NoError(t, err)
	n := len(body)
	return append([]byte{0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, body...)
}

// call begins a call, whose answer is in the response's body.
func (p *process) call(ctx context.Context, from http.RoundTripper, method string, body []byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url()+method, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("TE", "trailers")
	return from.RoundTrip(r)
}

// However many large answers are asked for at once, the server holds so many of them as it has set aside memory for. The others
// wait their turn, and all are given.
func TestLargeAnswersTakeTurns(t *testing.T) {
	t.Parallel()
	data, readers, most := 32, 40, 700
	if *long {
		data, readers, most = 100, 100, 1100
	}
	p := start(t, "--quota-backend-bytes=4294967296")
	c := p.client()
	fillMB(t, c, "k", data, 1000)
	q := &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l")}
	then := &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: q}}}}
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for name, ask := range map[string]func(ctx context.Context) (*http.Response, error){
		"range": func(ctx context.Context) (*http.Response, error) {
			return p.call(ctx, reader(), pb.KV_Range_FullMethodName, frame(t, q))
		},
		"txn": func(ctx context.Context) (*http.Response, error) {
			return p.call(ctx, reader(), pb.KV_Txn_FullMethodName, frame(t, then))
		},
		"stream": func(ctx context.Context) (*http.Response, error) {
			return p.call(ctx, reader(), pb.KV_RangeStream_FullMethodName, frame(t, q))
		},
		"json": func(ctx context.Context) (*http.Response, error) {
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url()+"/v3/kv/range", strings.NewReader(`{"key":"`+b64("k")+`","range_end":"`+b64("l")+`"}`))
			if err != nil {
				return nil, err
			}
			return (&http.Transport{}).RoundTrip(r)
		},
	} {
		n := readers
		if name == "json" && !*long {
			n /= 4 // it takes long
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		began := time.Now()
		p.forgetPeak()
		before := p.megabytes("VmRSS")
		var wg sync.WaitGroup
		var got atomic.Int64
		for range n {
			wg.Go(func() {
				resp, err := ask(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				n, err := io.Copy(io.Discard, resp.Body)
				if err != nil {
					t.Error(err)
				}
				got.Add(n)
				if s := resp.Trailer.Get("Grpc-Status"); s != "0" && name != "json" {
					t.Errorf("status %q", s)
				}
			})
		}
		wg.Wait()
		cancel()
		peak := p.megabytes("VmHWM")
		t.Logf("%s: %d readers of %d MB each took %v; the server held %d MB before and %d MB at most", name, n, data, time.Since(began).Round(time.Millisecond), before, peak)
		require.Greater(t, got.Load(), int64(n)*int64(data)<<20)
		require.Less(t, peak, most, name)
	}
	p.stop()
}

// Who asks for large answers and does not read them keeps others waiting for a while only: then the connection is ended.
func TestWhoDoesNotReadIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	p := start(t)
	fillMB(t, p.client(), "k", 40, 1000)
	body := frame(t, &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l")})
	ctx := within(t, 3*patience)
	stalled := make(chan io.ReadCloser, 20)
	for range 8 { // more than there is room for: some of them wait, too
		go func() {
			if resp, err := p.call(ctx, reader(), pb.KV_Range_FullMethodName, body); err == nil {
				stalled <- resp.Body
			}
		}()
	}
	for range 5 {
		<-stalled
	}
	resp, err := p.call(ctx, reader(), pb.KV_Range_FullMethodName, body)
	require.NoError(t, err)
	n, err := io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	require.Greater(t, n, int64(40<<20))
	require.Equal(t, "0", resp.Trailer.Get("Grpc-Status"))
	fill(t, p.client(), 1) // small ones need not wait at all
	p.stop()
}

// A listing of v2 goes out as it is made, and is the same in pieces as it would be whole.
func TestLargeListingsAreStreamed(t *testing.T) {
	t.Parallel()
	const dirs, each, size, readers = 30, 20, 60 << 10, 30
	p := start(t)
	put := func(path, value string) {
		r, err := http.NewRequest(http.MethodPut, p.url()+"/v2/keys"+path, strings.NewReader("value="+value))
		require.NoError(t, err)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		require.Equal(t, 201, resp.StatusCode)
	}
	for d := range dirs {
		for i := range each {
			put(fmt.Sprintf("/list/%02d/%02d", d, i), strings.Repeat("v", size))
		}
		put(fmt.Sprintf("/list/%02d-hidden/_only", d), "x")
	}
	type node struct {
		Key, Value string
		Dir        bool
		Nodes      []node
	}
	for _, header := range []string{"", "X-Else"} { // the quick way, and net/http's
		p.forgetPeak()
		before := p.megabytes("VmRSS")
		var wg sync.WaitGroup
		for i := range readers {
			wg.Go(func() {
				r, err := http.NewRequest(http.MethodGet, p.url()+"/v2/keys/list?recursive=true", nil)
				if err != nil {
					t.Error(err)
					return
				}
				if header != "" {
					r.Header.Set(header, "1")
				}
				resp, err := (&http.Transport{DisableCompression: header == ""}).RoundTrip(r)
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				if i > 0 {
					if n, err := io.Copy(io.Discard, resp.Body); err != nil || n < dirs*each*size {
						t.Error(n, err)
					}
					return
				}
				var a struct{ Node node }
				if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
					t.Error(err)
					return
				}
				if len(a.Node.Nodes) != 2*dirs {
					t.Errorf("%d directories", len(a.Node.Nodes))
				}
				for d, dir := range a.Node.Nodes {
					if want := each * (1 - d%2); len(dir.Nodes) != want || !dir.Dir {
						t.Errorf("%s has %d keys", dir.Key, len(dir.Nodes))
					}
					for i, n := range dir.Nodes {
						if n.Key != fmt.Sprintf("/list/%02d/%02d", d/2, i) || len(n.Value) != size {
							t.Errorf("%s of %d bytes", n.Key, len(n.Value))
						}
					}
				}
			})
		}
		wg.Wait()
		peak := p.megabytes("VmHWM")
		t.Logf("%d readers of %d MB: the server held %d MB before and %d MB at most", readers, dirs*each*size>>20, before, peak)
		require.Less(t, peak, before+200)
	}
	p.stop()
}

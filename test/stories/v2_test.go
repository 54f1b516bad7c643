package stories

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cairn-kv/cairn/test/process"
)

// v2Client sends requests of the v2 API to one member, and goes to the next when that fails.
type v2Client struct {
	members []*process.Member
	at      atomic.Int64
	http    http.Client
}

func newV2(g *process.Group, first int) *v2Client {
	c := &v2Client{members: g.Members, http: http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}}
	c.at.Store(int64(first))
	return c
}

// v2Answer is an answer; code is the errorCode of a refusal, and index the X-Etcd-Index.
type v2Answer struct {
	Status int
	Action string `json:"action"`
	Code   int    `json:"errorCode"`
	Index  uint64 `json:"index"`
	Node   v2Node `json:"node"`
}

type v2Node struct {
	Key      string   `json:"key"`
	Value    string   `json:"value"`
	Modified uint64   `json:"modifiedIndex"`
	Created  uint64   `json:"createdIndex"`
	Nodes    []v2Node `json:"nodes"`
}

// once sends a request to the member whose turn it is. Whatever is no answer, or one of 5xx, is an error.
func (c *v2Client) once(method, path string, form url.Values) (*v2Answer, error) {
	i := c.at.Load()
	req, err := http.NewRequest(method, c.members[int(i)%len(c.members)].URL()+"/v2/keys"+path, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := c.http.Do(req)
	if err == nil {
		defer resp.Body.Close()
		var b []byte
		b, err = io.ReadAll(resp.Body)
		a := &v2Answer{Status: resp.StatusCode}
		switch {
		case err != nil:
		case resp.StatusCode >= 500:
			err = fmt.Errorf("status %d: %s", resp.StatusCode, b)
		case len(b) == 0:
			err = io.ErrUnexpectedEOF // a watch whose member stops
		default:
			if err = json.Unmarshal(b, a); err == nil {
				_, _ = fmt.Sscan(resp.Header.Get("X-Etcd-Index"), &a.Index)
				return a, nil
			}
		}
	}
	c.at.CompareAndSwap(i, i+1)
	return nil, err
}

// do sends a request until somebody answers, or stop says so.
func (c *v2Client) do(stop func() bool, method, path string, form url.Values) *v2Answer {
	for !stop() {
		if a, err := c.once(method, path, form); err == nil {
			return a
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil
}

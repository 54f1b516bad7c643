package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/wire"
)

// maxAnswer bounds an answer, in bytes: the keys of a lease are the longest.
const maxAnswer = 100 << 20

// Client asks other members over their peer URLs, before there is a Transport and beside it. Its methods may be called
// from any goroutine; it has none of its own but for idle connections, which Close ends.
type Client struct {
	road    *road
	timeout time.Duration
}

// NewClient makes a client that dials with what tls gives it for each connection. The timeout bounds each question, along with
// its context.
func NewClient(tls func() *tls.Config, timeout time.Duration) *Client {
	return &Client{newRoad(roadConfig{tls: tls, dial: timeout, write: timeout, reuse: true}), timeout}
}

// Close ends idle connections.
func (c *Client) Close() { c.road.close() }

// Open asks for what may be long. The answer ends with the context; whoever gets one closes its body.
func (c *Client) Open(req *http.Request) (*http.Response, error) { return c.road.RoundTrip(req) }

// answer is what a member has answered.
type answer struct {
	status int
	head   http.Header
	body   []byte
}

// unexpected is the error for a status that has no meaning of its own.
func (a answer) unexpected() error {
	return fmt.Errorf("peer: unexpected answer %d: %.200q", a.status, bytes.TrimSpace(a.body))
}

func (a answer) says(text string) bool { return bytes.Contains(a.body, []byte(text)) }

func (c *Client) ask(ctx context.Context, method, url, path string, head http.Header, body []byte) (a answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(url, "/")+path, bytes.NewReader(body))
	if err != nil {
		return a, err
	}
	if head != nil {
		req.Header = head
	}
	if req.URL.Host == "" {
		return a, fmt.Errorf("peer: %q is no peer URL", url)
	}
	resp, err := c.road.RoundTrip(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	a.status, a.head = resp.StatusCode, resp.Header
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(a.body) > maxAnswer {
		err = errTooLarge
	}
	return a, err
}

// get asks without a body and wants a plain success.
func (c *Client) get(ctx context.Context, url, path string) (answer, error) {
	a, err := c.ask(ctx, http.MethodGet, url, path, nil, nil)
	if err == nil && a.status != http.StatusOK {
		err = a.unexpected()
	}
	return a, err
}

// Members asks for the ID of the cluster and its members.
func (c *Client) Members(ctx context.Context, url string) (cluster.ID, []cluster.Member, error) {
	a, err := c.get(ctx, url, pathMembers)
	if err != nil {
		return 0, nil, err
	}
	id, err := parseID(a.head.Get(headCluster))
	if err != nil {
		return 0, nil, fmt.Errorf("peer: malformed cluster ID %.50q", a.head.Get(headCluster))
	}
	members, err := parseMembers(a.body)
	return id, members, err
}

func parseMembers(b []byte) (members []cluster.Member, err error) {
	if err := json.Unmarshal(b, &members); err != nil {
		return nil, fmt.Errorf("peer: malformed list of members: %w", err)
	}
	return members, nil
}

// Version asks for the version of the member, and the one that the cluster has agreed on, "" before it has.
func (c *Client) Version(ctx context.Context, url string) (server, agreed string, err error) {
	a, err := c.get(ctx, url, pathVersion)
	if err != nil {
		return "", "", err
	}
	var v versions
	if err := json.Unmarshal(a.body, &v); err != nil {
		return "", "", fmt.Errorf("peer: malformed versions: %w", err)
	}
	if v.Cluster == undecided {
		v.Cluster = ""
	}
	return v.Server, v.Cluster, nil
}

// Promote asks the leader to make a voter of a learner, on behalf of the user whose token the context carries. What the
// leader refuses is ErrMemberNotFound, ErrMemberNotLearner, ErrLearnerNotReady or ErrTimeout.
func (c *Client) Promote(ctx context.Context, url string, id cluster.ID) ([]cluster.Member, error) {
	head := http.Header{}
	if token := TokenFrom(ctx); token != "" {
		head.Set("Authorization", token)
	}
	a, err := c.ask(ctx, http.MethodPost, url, pathPromote+strconv.FormatUint(uint64(id), 10), head, nil)
	if err != nil {
		return nil, err
	}
	switch {
	case a.status == http.StatusOK:
		return parseMembers(a.body)
	case a.status == http.StatusRequestTimeout:
		return nil, wire.ErrTimeout
	case a.status == http.StatusNotFound:
		return nil, wire.ErrMemberNotFound
	case a.status == http.StatusPreconditionFailed && a.says(wire.ErrLearnerNotReady.Error()):
		return nil, wire.ErrLearnerNotReady
	case a.status == http.StatusPreconditionFailed && a.says(saysNotLearner):
		return nil, wire.ErrMemberNotLearner
	}
	return nil, a.unexpected()
}

var protobufHead = http.Header{"Content-Type": {"application/protobuf"}}

// lease asks about a lease.
func (c *Client) lease(ctx context.Context, url, path string, body []byte) ([]byte, error) {
	a, err := c.ask(ctx, http.MethodPost, url, path, protobufHead.Clone(), body)
	if err != nil {
		return nil, err
	}
	switch {
	case a.status == http.StatusOK:
		return a.body, nil
	case a.status == http.StatusRequestTimeout:
		return nil, wire.ErrTimeout
	case a.status == http.StatusNotFound && a.says(saysNoLease):
		return nil, wire.ErrLeaseNotFound
	case a.says(saysNotPrimary):
		return nil, wire.ErrNotPrimary
	}
	return nil, a.unexpected()
}

// Renew asks the leader to renew a lease; 0 stands for a lease that is not there. ErrTimeout and ErrNotPrimary are worth
// asking again.
func (c *Client) Renew(ctx context.Context, url string, lease int64) (ttlSeconds int64, err error) {
	body, err := proto.Marshal(&pb.LeaseKeepAliveRequest{ID: lease})
	if err != nil {
		return 0, err
	}
	b, err := c.lease(ctx, url, pathLeases, body)
	if errors.Is(err, wire.ErrLeaseNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var a pb.LeaseKeepAliveResponse
	if err := proto.Unmarshal(b, &a); err != nil || a.ID != lease {
		return 0, fmt.Errorf("peer: malformed answer to a renewal")
	}
	return a.TTL, nil
}

// TimeToLive asks the leader about a lease, ErrLeaseNotFound if it is not there.
func (c *Client) TimeToLive(ctx context.Context, url string, lease int64, keys bool) (*pb.LeaseTimeToLiveResponse, error) {
	body, err := proto.Marshal(&pb.LeaseTimeToLiveRequest{ID: lease, Keys: keys})
	if err != nil {
		return nil, err
	}
	b, err := c.lease(ctx, url, pathLeaseInternal, wrap(body))
	if err != nil {
		return nil, err
	}
	a := new(pb.LeaseTimeToLiveResponse)
	if b, err = unwrap(b); err == nil {
		err = proto.Unmarshal(b, a)
	}
	if err != nil || a.ID != lease {
		return nil, fmt.Errorf("peer: malformed answer about a lease")
	}
	return a, nil
}

// HashKV asks for the hash of the keyspace at a revision. What is refused is ErrCompacted, ErrFutureRev or
// ErrClusterIDMismatch.
func (c *Client) HashKV(ctx context.Context, url string, clusterID cluster.ID, rev int64) (*pb.HashKVResponse, error) {
	body, err := json.Marshal(hashQuestion{rev})
	if err != nil {
		return nil, err
	}
	a, err := c.ask(ctx, http.MethodGet, url, pathHashKV, http.Header{headCluster: {clusterID.String()}, "Content-Type": {"application/json"}}, body)
	if err != nil {
		return nil, err
	}
	switch {
	case a.status == http.StatusOK:
	case a.status == http.StatusBadRequest && a.says("mvcc: required revision has been compacted"):
		return nil, wire.ErrCompacted
	case a.status == http.StatusBadRequest && a.says("mvcc: required revision is a future revision"):
		return nil, wire.ErrFutureRev
	case a.status == http.StatusPreconditionFailed && a.says(errOtherCluster.Error()):
		return nil, wire.ErrClusterIDMismatch
	default:
		return nil, a.unexpected()
	}
	var h hashAnswer
	if err := json.Unmarshal(a.body, &h); err != nil {
		return nil, fmt.Errorf("peer: malformed hash: %w", err)
	}
	return &pb.HashKVResponse{Header: &pb.ResponseHeader{Revision: h.Header.Revision}, Hash: h.Hash,
		CompactRevision: h.CompactRevision, HashRevision: h.HashRevision}, nil
}

// DowngradeEnabled asks whether a downgrade is under way.
func (c *Client) DowngradeEnabled(ctx context.Context, url string) (bool, error) {
	a, err := c.get(ctx, url, pathDowngrade)
	if err != nil {
		return false, err
	}
	enabled, err := strconv.ParseBool(string(a.body))
	if err != nil {
		return false, fmt.Errorf("peer: malformed answer about a downgrade: %.50q", a.body)
	}
	return enabled, nil
}

package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/wire"
)

const (
	// maxQuestion bounds the body of a request that is no message, in bytes. It is etcd's bound for leases.
	maxQuestion = 64 << 10
	// leaseWithin bounds how long a question about a lease waits for this member to catch up; the caller asks again.
	leaseWithin = time.Second
	// readWithin bounds a question that needs a linearizable read or a proposal, as etcd's request timeout does.
	readWithin = 7 * time.Second
)

// What members tell each other in these words.
const (
	saysNotFound   = "membership: ID not found"
	saysNotLearner = "membership: can only promote a learner member"
	saysNoLease    = "lease not found"
	saysNotPrimary = "not a primary lessor"
	saysBehind     = "waiting for node to catch up its applied index has timed out"
)

// serveMember answers what is not raft's.
func (t *Transport) serveMember(w http.ResponseWriter, r *http.Request) {
	if t.cfg.Member == nil {
		http.Error(w, "member is not ready", http.StatusServiceUnavailable)
		return
	}
	switch path := r.URL.Path; {
	case path == pathMembers:
		if allowed(w, r, http.MethodGet) {
			w.Header()[headCluster] = []string{t.me.cluster.String()}
			writeJSON(w, t.cfg.Member.Members())
		}
	case path == pathVersion:
		if allowed(w, r, http.MethodGet) {
			t.serveVersion(w)
		}
	case path == pathHashKV:
		if allowed(w, r, http.MethodGet) {
			t.serveHashKV(w, r)
		}
	case path == pathDowngrade:
		if allowed(w, r, http.MethodGet) {
			t.serveDowngrade(w, r)
		}
	case strings.HasPrefix(path, pathPromote):
		if allowed(w, r, http.MethodPost) {
			t.servePromote(w, r, strings.TrimPrefix(path, pathPromote))
		}
	case path == pathLeases:
		t.serveLease(w, r, t.renew)
	case path == pathLeaseInternal:
		t.serveLease(w, r, t.timeToLive)
	default:
		http.NotFound(w, r)
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// versions is the body of /version.
type versions struct {
	Server  string `json:"etcdserver"`
	Cluster string `json:"etcdcluster"`
	Storage string `json:"storage"`
}

const undecided = "not_decided"

func (t *Transport) serveVersion(w http.ResponseWriter) {
	server, agreed := t.cfg.Member.Version()
	v := versions{Server: server, Cluster: agreed, Storage: agreed}
	if agreed == "" {
		v.Cluster, v.Storage = undecided, "unknown"
	}
	b, _ := json.Marshal(v)
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b)
}

// hashQuestion and hashAnswer have numbers where the gateway's JSON has strings.
type hashQuestion struct {
	Revision int64 `json:"revision,omitempty"`
}

type hashAnswer struct {
	Header struct {
		Revision int64 `json:"revision,omitempty"`
	} `json:"header"`
	Hash            uint32 `json:"hash,omitempty"`
	CompactRevision int64  `json:"compact_revision,omitempty"`
	HashRevision    int64  `json:"hash_revision,omitempty"`
}

func (t *Transport) serveHashKV(w http.ResponseWriter, r *http.Request) {
	if id := r.Header.Get(headCluster); id != "" && id != t.me.cluster.String() {
		http.Error(w, errOtherCluster.Error(), http.StatusPreconditionFailed)
		return
	}
	b, ok := question(w, r)
	if !ok {
		return
	}
	var q hashQuestion
	if err := json.Unmarshal(b, &q); err != nil {
		http.Error(w, "error unmarshalling request", http.StatusBadRequest)
		return
	}
	h, err := t.cfg.Member.HashKV(r.Context(), q.Revision)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a := hashAnswer{Hash: h.GetHash(), CompactRevision: h.GetCompactRevision(), HashRevision: h.GetHashRevision()}
	a.Header.Revision = h.GetHeader().GetRevision()
	w.Header()[headCluster] = []string{t.me.cluster.String()}
	body, _ := json.Marshal(a)
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body)
}

func (t *Transport) serveDowngrade(w http.ResponseWriter, r *http.Request) {
	w.Header()[headCluster] = []string{t.me.cluster.String()}
	ctx, cancel := context.WithTimeout(r.Context(), readWithin)
	defer cancel()
	enabled, err := t.cfg.Member.DowngradeEnabled(ctx)
	if err != nil {
		http.Error(w, fmt.Sprintf("failed linearized read: %v", err), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, strconv.FormatBool(enabled))
}

func (t *Transport) servePromote(w http.ResponseWriter, r *http.Request, who string) {
	w.Header()[headCluster] = []string{t.me.cluster.String()}
	id, err := strconv.ParseUint(who, 10, 64)
	if err != nil {
		http.Error(w, fmt.Sprintf("member %s not found in cluster", who), http.StatusNotFound)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), readWithin)
	defer cancel()
	if token := r.Header.Get("Authorization"); token != "" {
		ctx = WithToken(ctx, token)
	}
	members, err := t.cfg.Member.Promote(ctx, cluster.ID(id))
	switch {
	case err == nil:
		writeJSON(w, members)
		return
	case errors.Is(err, wire.ErrMemberNotFound):
		http.Error(w, saysNotFound, http.StatusNotFound)
	case errors.Is(err, wire.ErrMemberNotLearner):
		http.Error(w, saysNotLearner, http.StatusPreconditionFailed)
	case errors.Is(err, wire.ErrLearnerNotReady):
		http.Error(w, err.Error(), http.StatusPreconditionFailed)
	default:
		writeMessage(w, http.StatusInternalServerError, "Internal Server Error")
	}
	t.log.Warn("failed to promote a member", "member-id", cluster.ID(id).String(), "error", err.Error())
}

// question reads a small body, or answers that it cannot.
func question(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	b, err := readBody(r, maxQuestion)
	switch {
	case err == nil:
		return b, true
	case errors.Is(err, errTooLarge):
		http.Error(w, "request body too large", http.StatusRequestEntityTooLarge)
	default:
		http.Error(w, "error reading body", http.StatusBadRequest)
	}
	return nil, false
}

var errMalformed = errors.New("error unmarshalling request")

// serveLease answers a question about a lease: answer gets the request's body and gives the answer's.
func (t *Transport) serveLease(w http.ResponseWriter, r *http.Request, answer func(context.Context, []byte) ([]byte, error)) {
	if !allowed(w, r, http.MethodPost) {
		return
	}
	b, ok := question(w, r)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), leaseWithin)
	defer cancel()
	b, err := answer(ctx, b)
	switch {
	case err == nil:
		w.Header().Set("Content-Type", "application/protobuf")
		_, _ = w.Write(b)
	case errors.Is(err, errMalformed):
		http.Error(w, err.Error(), http.StatusBadRequest)
	case errors.Is(err, wire.ErrLeaseNotFound):
		http.Error(w, saysNoLease, http.StatusNotFound)
	case timedOut(err):
		http.Error(w, saysBehind, http.StatusRequestTimeout)
	case notPrimary(err) && r.URL.Path == pathLeases:
		http.Error(w, saysNotPrimary, http.StatusBadRequest)
	case notPrimary(err):
		http.Error(w, saysNotPrimary, http.StatusInternalServerError)
	default:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func timedOut(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, wire.ErrTimeout) || errors.Is(err, wire.ErrTimeoutWaitAppliedIndex) ||
		errors.Is(err, wire.ErrTimeoutDueToLeaderFail) || errors.Is(err, wire.ErrTimeoutDueToConnectionLost) || errors.Is(err, wire.ErrDeadlineExceeded)
}

func notPrimary(err error) bool {
	return errors.Is(err, wire.ErrNotPrimary) || errors.Is(err, wire.ErrNotLeader) || errors.Is(err, wire.ErrNoLeader) ||
		errors.Is(err, wire.ErrLeaderChanged)
}

func (t *Transport) renew(ctx context.Context, b []byte) ([]byte, error) {
	var q pb.LeaseKeepAliveRequest
	if err := proto.Unmarshal(b, &q); err != nil {
		return nil, errMalformed
	}
	ttl, err := t.cfg.Member.Renew(ctx, q.ID)
	if err == nil && ttl <= 0 {
		err = wire.ErrLeaseNotFound
	}
	if err != nil {
		return nil, err
	}
	return proto.Marshal(&pb.LeaseKeepAliveResponse{ID: q.ID, TTL: ttl})
}

func (t *Transport) timeToLive(ctx context.Context, b []byte) ([]byte, error) {
	inner, err := unwrap(b)
	if err != nil {
		return nil, errMalformed
	}
	var q pb.LeaseTimeToLiveRequest
	if err := proto.Unmarshal(inner, &q); err != nil {
		return nil, errMalformed
	}
	a, err := t.cfg.Member.TimeToLive(ctx, q.ID, q.Keys)
	if err == nil && (a == nil || a.TTL < 0) {
		err = wire.ErrLeaseNotFound
	}
	if err != nil {
		return nil, err
	}
	if a.Header == nil {
		a.Header = &pb.ResponseHeader{}
	}
	body, err := proto.Marshal(a)
	if err != nil {
		return nil, err
	}
	return wrap(body), nil
}

// wrap makes the only field of a message out of another message.
func wrap(b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(make([]byte, 0, len(b)+8), 1, protowire.BytesType), b)
}

// unwrap is the inverse of wrap. Parts of the field that come apart belong together, and unknown fields are skipped, as
// protobuf prescribes.
func unwrap(b []byte) (inner []byte, err error) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		b = b[n:]
		if num == 1 && typ == protowire.BytesType {
			part, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return nil, protowire.ParseError(n)
			}
			inner, b = append(inner, part...), b[n:]
			continue
		}
		if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
			return nil, protowire.ParseError(n)
		}
		b = b[n:]
	}
	return inner, nil
}

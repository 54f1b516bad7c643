package v2client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
)

var (
	// ErrNoEndpoints says that there is nobody to ask.
	ErrNoEndpoints = errors.New("client: no endpoints available")
	// ErrInvalidJSON says that something else than etcd answered.
	//lint:ignore ST1005 the sentence that users know
	ErrInvalidJSON = errors.New("client: response is invalid json. The endpoint is probably not valid etcd cluster endpoint.")
	// ErrEmptyBody says that an answer has no content where there must be some.
	ErrEmptyBody = errors.New("client: response body is empty")
)

// Error is a refusal of the keys API. The codes are those of the server.
type Error struct {
	Code    int    `json:"errorCode"`
	Message string `json:"message"`
	Cause   string `json:"cause"`
	Index   uint64 `json:"index"`
}

func (e *Error) Error() string {
	return fmt.Sprintf("%d: %s (%s) [%d]", e.Code, e.Message, e.Cause, e.Index)
}

// Refusal is what the other parts of the API answer.
type Refusal struct {
	Status  int    `json:"-"` // of HTTP
	Message string `json:"message"`
}

func (e *Refusal) Error() string { return e.Message }

// refusal makes an error of an answer that is none of those expected.
func refusal(r *response) error {
	e := &Refusal{Status: r.status}
	if err := json.Unmarshal(r.body, e); err != nil {
		return ErrInvalidJSON
	}
	if e.Message == "" {
		e.Message = fmt.Sprintf("unexpected status code %d", r.status)
	}
	return e
}

// ClusterError says of each endpoint why it did not answer.
type ClusterError struct{ Errors []error }

const unavailable = "client: etcd cluster is unavailable or misconfigured"

func (e *ClusterError) Error() string {
	var b strings.Builder
	b.WriteString(unavailable)
	for i, err := range e.Errors {
		fmt.Fprintf(&b, "; error #%d: %v\n", i, err)
	}
	return b.String()
}

// Unwrap gives the errors of the endpoints.
func (e *ClusterError) Unwrap() []error { return e.Errors }

// Detail has a line for each endpoint.
func (e *ClusterError) Detail() string {
	var b strings.Builder
	for i, err := range e.Errors {
		fmt.Fprintf(&b, "error #%d: %v\n", i, err)
	}
	return b.String()
}

// headerTimeout says that an endpoint did not begin to answer in time.
type headerTimeout struct{ endpoint string }

func (e *headerTimeout) Error() string {
	return fmt.Sprintf("client: endpoint %s exceeded header timeout", e.endpoint)
}

// Unreachable says that an error means that nobody could be asked: each endpoint refused, broke or let the time pass.
func Unreachable(err error) bool {
	var all *ClusterError
	if errors.As(err, &all) {
		for _, e := range all.Errors {
			if !Unreachable(e) {
				return false
			}
		}
		return true
	}
	var late *headerTimeout
	var op *net.OpError
	var timeout net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &late), errors.Is(err, syscall.ECONNREFUSED):
		return true
	case errors.As(err, &op) && (op.Op == "dial" || op.Op == "read"):
		return true
	case errors.As(err, &timeout):
		return timeout.Timeout()
	}
	return false
}

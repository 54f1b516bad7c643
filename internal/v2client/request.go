package v2client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	mostRedirects = 10
	mostAnswer    = 1 << 30 // bytes of one answer: a recursive listing is held as a whole
)

const (
	formType = "application/x-www-form-urlencoded"
	jsonType = "application/json"
)

// request is one call of the API, for whichever endpoint.
type request struct {
	method, path string
	query        url.Values
	body         string
	hasBody      bool
	contentType  string
	shown        string // the body as it may be traced, if that is not the body

	once  bool // not repeated when it may have arrived
	waits bool // its answer may take for ever
}

// response is an answer of an endpoint.
type response struct {
	status int
	header http.Header
	body   []byte
}

// unable is the error of an answer by which an endpoint says that it cannot serve: another one may.
func (r *response) unable(endpoint *url.URL) error {
	switch {
	case r.status == http.StatusInternalServerError || r.status == http.StatusServiceUnavailable:
		return fmt.Errorf("client: etcd member %s has no leader", endpoint)
	case r.status/100 == 5:
		return fmt.Errorf("client: etcd member %s returns server error [%s]", endpoint, http.StatusText(r.status))
	}
	return nil
}

// ask sends a request to an endpoint and to where that redirects.
func (c *Client) ask(ctx context.Context, endpoint *url.URL, r *request) (*response, error) {
	u := *endpoint
	u.Path = strings.TrimSuffix(u.Path, "/") + r.path
	u.RawPath = ""
	u.RawQuery = r.query.Encode()
	to := &u
	for range mostRedirects + 1 {
		resp, err := c.send(ctx, endpoint, to, r)
		if err != nil {
			return nil, err
		}
		if resp.status/100 != 3 {
			return resp, nil
		}
		location := resp.header.Get("Location")
		if location == "" {
			return nil, errors.New("client: redirected without a location")
		}
		if to, err = to.Parse(location); err != nil {
			return nil, fmt.Errorf("client: redirected to an invalid location: %w", err)
		}
	}
	return nil, errors.New("client: too many redirects")
}

// send sends a request to a URL and reads the answer.
func (c *Client) send(ctx context.Context, endpoint, to *url.URL, r *request) (*response, error) {
	whole := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := func() bool { return true }
	if !r.waits && c.cfg.HeaderTimeout > 0 {
		late := time.AfterFunc(c.cfg.HeaderTimeout, func() { cancel(&headerTimeout{endpoint.String()}) })
		defer late.Stop()
		stop = late.Stop
	}
	req, err := http.NewRequestWithContext(ctx, r.method, to.String(), nil)
	if err != nil {
		return nil, err
	}
	if r.hasBody {
		req.Body = io.NopCloser(strings.NewReader(r.body))
		req.ContentLength = int64(len(r.body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(r.body)), nil }
	}
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	// Not in plain text where the endpoint was to be secure.
	if c.cfg.Username != "" && (to.Scheme == "https" || endpoint.Scheme != "https") {
		req.SetBasicAuth(c.cfg.Username, c.cfg.Password)
	}
	if c.cfg.Trace != nil {
		shown := r.shown
		if shown == "" {
			shown = r.body
		}
		c.cfg.Trace(Sent{r.method, to.String(), shown, r.hasBody})
	}
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, why(whole, ctx, err)
	}
	defer resp.Body.Close()
	if !stop() {
		return nil, why(whole, ctx, context.Canceled)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, mostAnswer+1))
	if err != nil {
		return nil, why(whole, ctx, err)
	}
	if len(body) > mostAnswer {
		return nil, fmt.Errorf("client: the answer of %s has more than %d bytes", endpoint, mostAnswer)
	}
	return &response{resp.StatusCode, resp.Header, body}, nil
}

// why is the reason of an error: that the caller gave up, or that the endpoint was too slow, or the error itself.
func why(whole, ctx context.Context, err error) error {
	if whole.Err() != nil {
		return whole.Err()
	}
	var late *headerTimeout
	if errors.As(context.Cause(ctx), &late) {
		return late
	}
	return err
}

package v2client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

// Result is what a request for a key led to. Its JSON is the one that tools print, not the server's.
type Result struct {
	Action   string `json:"action"`
	Node     *Node  `json:"node"`
	PrevNode *Node  `json:"prevNode"`
	Index    uint64 `json:"-"` // of the store
}

// Node is a key, or a directory with what is in it.
type Node struct {
	Key           string     `json:"key"`
	Dir           bool       `json:"dir,omitempty"`
	Value         string     `json:"value"`
	Nodes         []*Node    `json:"nodes"`
	CreatedIndex  uint64     `json:"createdIndex"`
	ModifiedIndex uint64     `json:"modifiedIndex"`
	Expiration    *time.Time `json:"expiration,omitempty"`
	TTL           int64      `json:"ttl,omitempty"` // in seconds
}

// Existence is a condition on what was there before.
type Existence string

// The conditions.
const (
	Whatever Existence = ""
	Exists   Existence = "true"
	Absent   Existence = "false"
)

// GetOptions say what to read.
type GetOptions struct {
	Recursive bool
	Sorted    bool
	Quorum    bool // linearizable
}

// SetOptions say on which condition to write, and what. Zero values are none.
type SetOptions struct {
	PrevValue        string
	PrevIndex        uint64
	PrevExist        Existence
	TTLSeconds       uint64
	Refresh          bool // the value stays, the time to live is new
	Dir              bool // a directory, which has no value
	NoValueOnSuccess bool
}

// DeleteOptions say on which condition to remove, and what.
type DeleteOptions struct {
	PrevValue string
	PrevIndex uint64
	Dir       bool // also an empty directory
	Recursive bool // also a directory with all that is in it
}

// keyPath is where a key is served. A slash at its end stays: permissions may depend on it.
func keyPath(key string) string {
	const prefix = "/v2/keys"
	if key == "" {
		return prefix
	}
	clean := path.Clean("/" + key)
	if strings.HasSuffix(key, "/") && clean != "/" {
		clean += "/"
	}
	return prefix + clean
}

// Get reads a key or a directory.
func (c *Client) Get(ctx context.Context, key string, o GetOptions) (*Result, error) {
	return c.key(ctx, &request{method: http.MethodGet, path: keyPath(key), query: url.Values{
		"recursive": {strconv.FormatBool(o.Recursive)},
		"sorted":    {strconv.FormatBool(o.Sorted)},
		"quorum":    {strconv.FormatBool(o.Quorum)},
	}})
}

// Set writes a key or makes a directory. Where it must not be there before, the request is sent once.
func (c *Client) Set(ctx context.Context, key, value string, o SetOptions) (*Result, error) {
	q := conditions(o.PrevValue, o.PrevIndex)
	if o.PrevExist != Whatever {
		q.Set("prevExist", string(o.PrevExist))
	}
	form := url.Values{}
	if o.Dir {
		q.Set("dir", "true")
	} else if !o.Refresh {
		form.Set("value", value)
	}
	if o.NoValueOnSuccess {
		q.Set("noValueOnSuccess", "true")
	}
	if o.TTLSeconds > 0 {
		form.Set("ttl", strconv.FormatUint(o.TTLSeconds, 10))
	}
	if o.Refresh {
		form.Set("refresh", "true")
	}
	return c.key(ctx, &request{method: http.MethodPut, path: keyPath(key), query: q, body: form.Encode(), hasBody: true,
		contentType: formType, once: o.PrevExist == Absent})
}

// CreateInOrder makes a key in a directory, under a name that sorts behind those of earlier ones. It is sent once.
func (c *Client) CreateInOrder(ctx context.Context, dir, value string, ttlSeconds uint64) (*Result, error) {
	form := url.Values{"value": {value}}
	if ttlSeconds > 0 {
		form.Set("ttl", strconv.FormatUint(ttlSeconds, 10))
	}
	return c.key(ctx, &request{method: http.MethodPost, path: keyPath(dir), body: form.Encode(), hasBody: true,
		contentType: formType, once: true})
}

// Delete removes a key or a directory. It is sent once.
func (c *Client) Delete(ctx context.Context, key string, o DeleteOptions) (*Result, error) {
	q := conditions(o.PrevValue, o.PrevIndex)
	if o.Dir {
		q.Set("dir", "true")
	}
	if o.Recursive {
		q.Set("recursive", "true")
	}
	return c.key(ctx, &request{method: http.MethodDelete, path: keyPath(key), query: q, contentType: formType, once: true})
}

func conditions(value string, index uint64) url.Values {
	q := url.Values{}
	if value != "" {
		q.Set("prevValue", value)
	}
	if index != 0 {
		q.Set("prevIndex", strconv.FormatUint(index, 10))
	}
	return q
}

func (c *Client) key(ctx context.Context, r *request) (*Result, error) {
	resp, err := c.do(ctx, r)
	if err != nil {
		return nil, err
	}
	return resp.result()
}

// result reads an answer of the keys API.
func (r *response) result() (*Result, error) {
	if r.status != http.StatusOK && r.status != http.StatusCreated {
		e := &Error{}
		if err := json.Unmarshal(r.body, e); err != nil {
			return nil, ErrInvalidJSON
		}
		return nil, e
	}
	if len(r.body) == 0 {
		return nil, ErrEmptyBody
	}
	res := &Result{}
	if err := json.Unmarshal(r.body, res); err != nil {
		return nil, ErrInvalidJSON
	}
	if res.Node == nil {
		res.Node = &Node{} // noValueOnSuccess
	}
	if text := r.header.Get("X-Etcd-Index"); text != "" {
		index, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return nil, err
		}
		res.Index = index
	}
	return res, nil
}

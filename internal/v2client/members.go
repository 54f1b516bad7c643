package v2client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/cairn-kv/cairn/internal/peerurl"
)

// Member is one of the cluster. Without a name it has not started yet.
type Member struct {
	ID         string   `json:"id"` // in hex
	Name       string   `json:"name"`
	PeerURLs   []string `json:"peerURLs"`
	ClientURLs []string `json:"clientURLs"`
}

const membersPath = "/v2/members"

// Members lists the members in the server's order.
func (c *Client) Members(ctx context.Context) ([]Member, error) {
	var out struct {
		Members []Member `json:"members"`
	}
	err := c.call(ctx, http.MethodGet, membersPath, nil, &out, http.StatusOK)
	return out.Members, err
}

// Leader is the member that leads.
func (c *Client) Leader(ctx context.Context) (*Member, error) {
	m := &Member{}
	if err := c.call(ctx, http.MethodGet, membersPath+"/leader", nil, m, http.StatusOK); err != nil {
		return nil, err
	}
	return m, nil
}

type peers struct {
	PeerURLs []string `json:"peerURLs"`
}

func peersOf(urls []string) (*peers, error) {
	if err := peerurl.Check(urls); err != nil {
		return nil, err
	}
	p := &peers{}
	for _, u := range urls {
		p.PeerURLs = append(p.PeerURLs, strings.TrimSpace(u))
	}
	slices.Sort(p.PeerURLs)
	return p, nil
}

// AddMember makes room for a member, which has to be started next.
func (c *Client) AddMember(ctx context.Context, peerURLs ...string) (*Member, error) {
	p, err := peersOf(peerURLs)
	if err != nil {
		return nil, err
	}
	m := &Member{}
	if err := c.call(ctx, http.MethodPost, membersPath, p, m, http.StatusCreated); err != nil {
		return nil, err
	}
	return m, nil
}

// UpdateMember replaces all peer URLs of a member.
func (c *Client) UpdateMember(ctx context.Context, id string, peerURLs []string) error {
	p, err := peersOf(peerURLs)
	if err != nil {
		return err
	}
	at, err := below(membersPath, id)
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodPut, at, p, nil, http.StatusNoContent)
}

// RemoveMember removes a member. One that is gone already is no error.
func (c *Client) RemoveMember(ctx context.Context, id string) error {
	at, err := below(membersPath, id)
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodDelete, at, nil, nil, http.StatusNoContent, http.StatusGone)
}

// below is the path of something with a name. A name that would lead elsewhere is refused.
func below(dir, name string) (string, error) {
	if name == "" || name == "." || name == ".." || strings.Contains(name, "/") {
		return "", fmt.Errorf("client: %q is not a name", name)
	}
	return dir + "/" + name, nil
}

// call sends a request with a JSON body, unless in is nil, and reads the answer into out, unless that is nil.
func (c *Client) call(ctx context.Context, method, path string, in, out any, good ...int) error {
	r := &request{method: method, path: path}
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		r.body, r.hasBody, r.contentType = string(b), true, jsonType
		if s, ok := in.(secret); ok {
			r.shown = s.shown()
		}
	}
	resp, err := c.do(ctx, r)
	switch {
	case err != nil:
		return err
	case !slices.Contains(good, resp.status):
		return refusal(resp)
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(resp.body, out); err != nil {
		return ErrInvalidJSON
	}
	return nil
}

package v2client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
)

// Version is what a server says it is.
type Version struct {
	Server  string `json:"etcdserver"`
	Cluster string `json:"etcdcluster"`
}

// Version asks for the version of the server that answers, and of the cluster.
func (c *Client) Version(ctx context.Context) (Version, error) {
	var v Version
	err := c.call(ctx, http.MethodGet, "/version", nil, &v, http.StatusOK)
	return v, err
}

// LeaderStats are what a leader knows of its followers.
type LeaderStats struct {
	Leader    string              `json:"leader"`
	Followers map[string]Follower `json:"followers"`
}

// Follower is how a follower answers its leader. Times are in milliseconds.
type Follower struct {
	Latency struct {
		Current           float64 `json:"current"`
		Average           float64 `json:"average"`
		StandardDeviation float64 `json:"standardDeviation"`
		Minimum           float64 `json:"minimum"`
		Maximum           float64 `json:"maximum"`
	} `json:"latency"`
	Counts struct {
		Fail    uint64 `json:"fail"`
		Success uint64 `json:"success"`
	} `json:"counts"`
}

// LeaderStats asks the endpoint that answers, which refuses if it does not lead.
func (c *Client) LeaderStats(ctx context.Context) (*LeaderStats, error) {
	s := &LeaderStats{}
	if err := c.call(ctx, http.MethodGet, "/v2/stats/leader", nil, s, http.StatusOK); err != nil {
		return nil, err
	}
	return s, nil
}

// Health asks one server, by its URL, whether it is healthy. Any JSON is an answer, whatever its status.
func (c *Client) Health(ctx context.Context, server string) (bool, error) {
	u, err := url.Parse(server)
	if err != nil {
		return false, err
	}
	resp, err := c.ask(ctx, u, &request{method: http.MethodGet, path: "/health", waits: true})
	if err != nil {
		return false, &url.Error{Op: "Get", URL: server + "/health", Err: err}
	}
	var body struct {
		Health any `json:"health"`
	}
	if err := json.Unmarshal(resp.body, &body); err != nil {
		return false, err
	}
	return body.Health == "true" || body.Health == true, nil
}

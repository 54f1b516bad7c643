// Package doctor says what is wrong with a cluster: from what its members report of themselves and of each other.
//
// It must never ask a member itself, and keeps nothing: it is given reports and judges them.
package doctor

import "time"

// Path is where a member serves its report over HTTP.
const Path = "/cairn/report"

// Report is what one member says of itself and of what it sees of the others. IDs are in hex, as in a list of members.
type Report struct {
	Member         string    `json:"member"`
	Name           string    `json:"name"`
	Cluster        string    `json:"cluster"`
	Version        string    `json:"version"`
	ClusterVersion string    `json:"clusterVersion"`
	Now            time.Time `json:"now"`

	Leader   string `json:"leader,omitempty"` // empty if none is known
	IsLeader bool   `json:"isLeader,omitempty"`
	Learner  bool   `json:"learner,omitempty"`
	Term     uint64 `json:"term"`
	Commit   uint64 `json:"commit"`
	Applied  uint64 `json:"applied"`

	Failure  string   `json:"failure,omitempty"` // why the member cannot write
	Alarms   []string `json:"alarms,omitempty"`  // TYPE of MEMBER
	DiskFree uint64   `json:"diskFreeBytes"`
	InUse    int64    `json:"inUseBytes"`
	Size     int64    `json:"sizeBytes"`
	Quota    int64    `json:"quotaBytes"` // 0 for none
	Sync     Sync     `json:"sync"`

	Members []Member `json:"members"`
	Peers   []Peer   `json:"peers,omitempty"`
}

// Sync is how long syncs of the log have taken lately.
type Sync struct {
	Count   int     `json:"count"`
	P99     float64 `json:"p99Seconds"`
	Longest float64 `json:"longestSeconds"`
}

// Member is one member as the log has it.
type Member struct {
	ID      string   `json:"id"`
	Name    string   `json:"name,omitempty"`
	Learner bool     `json:"learner,omitempty"`
	URLs    []string `json:"clientURLs,omitempty"`
}

// Peer is what a member sees of another.
type Peer struct {
	ID        string    `json:"id"`
	Active    bool      `json:"active"`
	Since     time.Time `json:"since,omitzero"` // it is active
	RoundTrip float64   `json:"roundTripSeconds"`
	ClockLag  float64   `json:"clockLagSeconds"` // how far its clock is behind
	LastError string    `json:"lastError,omitempty"`
}

// Visit is a report and how it was got.
type Visit struct {
	Endpoint string
	Report   *Report // nil if there was no answer
	Err      error   // why there was none
	// ClockLag is how far the member's clock is behind the visitor's, give or take half the time the visit took.
	ClockLag, Took time.Duration
	CertEnds       time.Time // of the endpoint's certificate; zero without TLS
}

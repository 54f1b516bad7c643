package cairn

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// imagePath is where other members get this member's state from.
const (
	imagePath     = "/cairn/image"
	appliedHeader = "X-Cairn-Applied"
	clusterHeader = "X-Etcd-Cluster-ID"
)

// Heal exchanges this member's data for that of the others.
func (s *Server) Heal(ctx context.Context) error { return s.host.Heal(ctx, s.fetchImage) }

// peerHandler is what other members are served.
func (s *Server) peerHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", s.peers.Handler())
	mux.HandleFunc("GET "+imagePath, s.serveImage)
	return mux
}

func (s *Server) serveImage(w http.ResponseWriter, r *http.Request) {
	if of := r.Header.Get(clusterHeader); of != s.host.ClusterID().String() {
		http.Error(w, "cluster ID mismatch", http.StatusPreconditionFailed)
		return
	}
	told := false
	err := s.host.WriteImage(r.Context(), func(applied uint64) {
		w.Header().Set(appliedHeader, strconv.FormatUint(applied, 10))
		w.Header().Set("Content-Type", "application/octet-stream")
		told = true
	}, w)
	switch {
	case err != nil && !told:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	case err != nil:
		panic(http.ErrAbortHandler) // so that the other side does not take a part for the whole
	}
}

func (s *Server) fetchImage(ctx context.Context, url string) (uint64, io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+imagePath, nil)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set(clusterHeader, s.host.ClusterID().String())
	resp, err := s.others.Open(req)
	if err != nil {
		return 0, nil, err
	}
	index, err := strconv.ParseUint(resp.Header.Get(appliedHeader), 10, 64)
	if resp.StatusCode != http.StatusOK || err != nil {
		resp.Body.Close()
		return 0, nil, fmt.Errorf("cairn: %s answers %s", url, resp.Status)
	}
	return index, resp.Body, nil
}

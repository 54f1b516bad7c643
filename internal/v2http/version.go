package v2http

import (
	"encoding/json"
	"net/http"
)

// versions is the body of /version. Members compare the fields byte by byte.
type versions struct {
	Server  string `json:"etcdserver"`
	Cluster string `json:"etcdcluster"`
	Storage string `json:"storage"`
}

func (a *API) version(w http.ResponseWriter, _ *http.Request) {
	view := a.View()
	v := versions{Server: a.cfg.Version, Cluster: view.Cluster.Version(), Storage: view.StorageVersion}
	if v.Cluster == "" {
		v.Cluster = "not_decided"
	}
	if v.Storage == "" {
		v.Storage = "unknown"
	}
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b)
}

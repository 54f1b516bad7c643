package v2http

import (
	"encoding/json"
	"net/http"

	"github.com/cairn-kv/cairn/internal/machine"
)

// versions is the body of /version. Members compare the fields byte by byte.
type versions struct {
	Server  string `json:"etcdserver"`
	Cluster string `json:"etcdcluster"`
	Storage string `json:"storage"`
}

func (a *API) version(w http.ResponseWriter, _ *http.Request) {
	v := versions{Server: a.cfg.Version, Cluster: a.View().Cluster.Version(), Storage: machine.StorageVersion}
	if v.Cluster == "" {
		v.Cluster = "not_decided"
	}
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b)
}

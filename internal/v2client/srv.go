package v2client

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Resolver is the part of net.Resolver that is asked.
type Resolver interface {
	LookupSRV(ctx context.Context, service, proto, name string) (cname string, addrs []*net.SRV, err error)
}

// Discover finds endpoints in the service records of a domain, first those of https.
func Discover(ctx context.Context, r Resolver, domain string) ([]string, error) {
	var out []string
	var failed []string
	for _, s := range []struct{ service, scheme string }{{"etcd-client-ssl", "https"}, {"etcd-client", "http"}} {
		_, records, err := r.LookupSRV(ctx, s.service, "tcp", domain)
		if err != nil {
			failed = append(failed, err.Error())
			continue
		}
		for _, rec := range records {
			host := strings.TrimSuffix(rec.Target, ".")
			out = append(out, s.scheme+"://"+net.JoinHostPort(host, strconv.Itoa(int(rec.Port))))
		}
	}
	if len(failed) == 2 {
		return nil, fmt.Errorf("dns lookup errors: %s", strings.Join(failed, " and "))
	}
	return out, nil
}

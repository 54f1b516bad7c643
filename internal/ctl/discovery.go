package ctl

import (
	"context"
	"fmt"
	"net"
	"strconv"
)

// lookupSRV asks the DNS; tests replace it.
var lookupSRV = net.DefaultResolver.LookupSRV

// discover finds endpoints in the SRV records of a domain: secure ones first.
// When there are both, the plaintext ones are left out, because one transport
// serves all endpoints.
func (a *app) discover() ([]string, error) {
	domain := a.flags.discoverySRV
	secure, errSecure := lookup(a.Context, "etcd-client-ssl", a.flags.discoverySRVName, domain, "https")
	plain, errPlain := lookup(a.Context, "etcd-client", a.flags.discoverySRVName, domain, "http")
	if errSecure != nil && errPlain != nil {
		return nil, fmt.Errorf("dns lookup errors: %w and %w", errSecure, errPlain)
	}
	if len(secure) == 0 && a.flags.insecureDiscovery {
		return plain, nil
	}
	for _, ep := range plain {
		fmt.Fprintf(a.Stderr, "ignoring discovered insecure endpoint %q\n", ep)
	}
	return secure, nil
}

func lookup(ctx context.Context, service, suffix, domain, scheme string) ([]string, error) {
	if suffix != "" {
		service += "-" + suffix
	}
	_, records, err := lookupSRV(ctx, service, "tcp", domain)
	if err != nil {
		return nil, err
	}
	eps := make([]string, len(records))
	for i, r := range records {
		eps[i] = scheme + "://" + net.JoinHostPort(r.Target, strconv.Itoa(int(r.Port)))
	}
	return eps, nil
}

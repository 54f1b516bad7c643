package tlsfiles

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// Resolver is the part of net.Resolver that is asked.
type Resolver interface {
	LookupHost(ctx context.Context, host string) ([]string, error)
	LookupAddr(ctx context.Context, addr string) ([]string, error)
}

// checkAddress refuses a certificate for other addresses and host names than that of the remote side. One that is for none
// may come from anywhere.
func checkAddress(ctx context.Context, r Resolver, cert *x509.Certificate, remote string) error {
	if len(cert.IPAddresses) == 0 && len(cert.DNSNames) == 0 {
		return nil
	}
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return err
	}
	if len(cert.IPAddresses) > 0 {
		if err := cert.VerifyHostname(host); err == nil || len(cert.DNSNames) == 0 {
			return err
		}
	}
	var failed []error
	for _, name := range cert.DNSNames {
		found, err := isAt(ctx, r, name, host)
		if found {
			return nil
		}
		if err != nil {
			failed = append(failed, err)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("cannot find out whether %s is one of %v: %w", host, cert.DNSNames, errors.Join(failed...))
	}
	return fmt.Errorf("%s is none of %v, which the certificate is for", host, cert.DNSNames)
}

// isAt reports whether a host name, or one of those that a pattern stands for, belongs to an address.
func isAt(ctx context.Context, r Resolver, name, addr string) (bool, error) {
	if domain, ok := strings.CutPrefix(name, "*."); ok {
		names, err := r.LookupAddr(ctx, addr)
		for _, n := range names {
			if _, above, _ := strings.Cut(strings.TrimSuffix(n, "."), "."); strings.EqualFold(above, domain) {
				return true, nil
			}
		}
		return false, err
	}
	addrs, err := r.LookupHost(ctx, name)
	for _, a := range addrs {
		if sameAddress(a, addr) {
			return true, nil
		}
	}
	return false, err
}

func sameAddress(a, b string) bool {
	x, err := netip.ParseAddr(a)
	y, err2 := netip.ParseAddr(b)
	if err != nil || err2 != nil {
		return a == b
	}
	return x.Unmap() == y.Unmap()
}

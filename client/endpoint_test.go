package client

import (
	"errors"
	"testing"
)

func TestParseEndpoint(t *testing.T) {
	for in, want := range map[string]endpoint{
		"127.0.0.1:2379":           {"127.0.0.1:2379", "127.0.0.1:2379", securityAny},
		"http://h:2379":            {"h:2379", "h:2379", securityPlain},
		"https://h:2379/path":      {"h:2379", "h:2379", securitySecure},
		"https://[::1]:2379":       {"[::1]:2379", "[::1]:2379", securitySecure},
		"unix:///run/etcd.sock":    {"unix:///run/etcd.sock", "etcd.sock", securityAny},
		"unixs:///run/etcd.sock":   {"unix:///run/etcd.sock", "etcd.sock", securitySecure},
		"unix://localhost:0":       {"unix:localhost:0", "localhost:0", securityAny},
		"unix:etcd.sock":           {"unix:etcd.sock", "etcd.sock", securityAny},
		"unixs:dir/etcd.sock":      {"unix:dir/etcd.sock", "etcd.sock", securitySecure},
		"dns://8.8.8.8/h.test:123": {"dns://8.8.8.8/h.test:123", "8.8.8.8", securityAny},
	} {
		if got := parseEndpoint(in); got != want {
			t.Errorf("%s: got %+v, want %+v", in, got, want)
		}
	}
}

func TestSecurityOfAList(t *testing.T) {
	for _, tc := range []struct {
		list []string
		want security
		err  error
	}{
		{[]string{"h:1", "unix:x"}, securityAny, nil},
		{[]string{"h:1", "https://h:1"}, securitySecure, nil},
		{[]string{"http://h:1", "h:2"}, securityPlain, nil},
		{[]string{"unixs:x", "http://h:1"}, 0, ErrMixedEndpoints},
	} {
		_, got, err := parseEndpoints(tc.list)
		if !errors.Is(err, tc.err) || (err == nil && got != tc.want) {
			t.Errorf("%v: got %v, %v", tc.list, got, err)
		}
	}
}

package ctl

import (
	"context"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/cairn-kv/cairn/client"
)

// parseCompare reads one guard of a transaction:
//
//	target("key") operator "value"
//
// Numbers are quoted too; a lease is in hex.
func parseCompare(line string) (client.Cmp, error) {
	malformed := fail(exitInvalidInput, "malformed comparison: %s", line)
	invalid := fail(exitInvalidInput, "invalid txn compare request: %s", line)
	name, rest, ok := strings.Cut(line, "(")
	if !ok {
		return client.Cmp{}, malformed
	}
	key, rest, ok := cutQuoted(rest)
	if !ok || !strings.HasPrefix(rest, ")") {
		return client.Cmp{}, malformed
	}
	op, rest, ok := strings.Cut(strings.TrimLeft(rest[1:], " \t"), " ")
	if !ok {
		return client.Cmp{}, malformed
	}
	value, rest, ok := cutQuoted(strings.TrimLeft(rest, " \t"))
	if !ok || strings.TrimSpace(rest) != "" {
		return client.Cmp{}, malformed
	}
	target, ok := map[string]func(string) client.Cmp{
		"ver": client.Version, "version": client.Version,
		"c": client.CreateRevision, "create": client.CreateRevision,
		"m": client.ModRevision, "mod": client.ModRevision,
		"val": client.Value, "value": client.Value,
		"lease": client.LeaseValue,
	}[strings.TrimSpace(name)]
	if !ok {
		return client.Cmp{}, fail(exitInvalidInput, "malformed comparison: %s (unknown target %s)", line, strings.TrimSpace(name))
	}
	switch op {
	case "=", "!=", "<", ">":
	default:
		return client.Cmp{}, invalid
	}
	var want any = value
	switch strings.TrimSpace(name) {
	case "val", "value":
	case "lease":
		id, err := strconv.ParseInt(value, 16, 64)
		if err != nil {
			return client.Cmp{}, invalid
		}
		want = client.LeaseID(id)
	default:
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return client.Cmp{}, invalid
		}
		want = n
	}
	return client.Compare(target(key), op, want), nil
}

// cutQuoted takes a "quoted" or `raw` string from the front of s.
func cutQuoted(s string) (value, rest string, ok bool) {
	if s == "" || (s[0] != '"' && s[0] != '`') {
		return "", s, false
	}
	quoted, err := strconv.QuotedPrefix(s)
	if err != nil {
		return "", s, false
	}
	value, err = strconv.Unquote(quoted)
	return value, s[len(quoted):], err == nil
}

// parseRequest reads one request of a transaction, which is a get, put or del
// with the flags of the command.
func (a *app) parseRequest(ctx context.Context, line string) (client.Op, error) {
	words, err := splitWords(line)
	if err != nil {
		return client.Op{}, withCode(exitInvalidInput, err)
	}
	if len(words) < 2 {
		return client.Op{}, fail(exitInvalidInput, "invalid txn compare request: %s", line)
	}
	invalid := fail(exitInvalidInput, "invalid txn request: %s", line)
	f := pflag.NewFlagSet(words[0], pflag.ContinueOnError)
	f.SetOutput(io.Discard)
	switch byPrefix(words[0], "get", "put", "del") {
	case "get":
		var o getOptions
		o.addTo(f)
		if f.Parse(words[1:]) != nil {
			return client.Op{}, invalid
		}
		key, opts, err := o.parse(f.Args())
		if err != nil {
			return client.Op{}, err
		}
		return client.OpGet(key, opts...), nil
	case "put":
		var o putOptions
		o.addTo(f)
		if f.Parse(words[1:]) != nil {
			return client.Op{}, invalid
		}
		return o.parse(f.Args(), nil)
	case "del":
		var o delOptions
		o.addTo(f)
		if f.Parse(words[1:]) != nil {
			return client.Op{}, invalid
		}
		return o.parse(ctx, a, f.Args())
	}
	return client.Op{}, invalid
}

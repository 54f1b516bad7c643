package discovery

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/test/fuzz"
)

// talker answers requests with what it was given, one after the other, and then with nothing.
type talker struct {
	answers []string
	asked   int
	done    func()
}

var errSilent = errors.New("silent")

func (k *talker) RoundTrip(r *http.Request) (*http.Response, error) {
	k.asked++
	if len(k.answers) == 0 {
		k.done()
		return nil, errSilent
	}
	a := k.answers[0]
	k.answers = k.answers[1:]
	code, body, _ := strings.Cut(a, " ")
	n, err := strconv.Atoi(code)
	if err != nil || n < 200 || n > 599 {
		n, body = 200, a
	}
	return &http.Response{Status: code, StatusCode: n, Header: http.Header{"X-Etcd-Index": {code}}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// FuzzToken gives any answers to a member that registers, and to one that only reads. It ends when the service does, and
// what it believes is a list of members, as many as there are to be.
func FuzzToken(f *testing.F) {
	size := `200 {"action":"get","node":{"key":"/t/_config/size","value":"2"}}`
	nodes := `200 {"action":"get","node":{"key":"/t","dir":true,"nodes":[{"key":"/t/7","value":"a=http://a:1&a=http://a:2","createdIndex":3},{"key":"/t/5","value":"b=http://b:1","createdIndex":9}]}}`
	some := `200 {"node":{"nodes":[{"key":"/t/7","value":"a=http://a:1"}]}}`
	made := `201 {"action":"create","node":{"key":"/t/5","createdIndex":7}}`
	for _, s := range [][]string{{size, nodes}, {size, some, nodes, nodes}, {size, some, made, nodes, nodes}, {size, nodes, nodes}, {`404 {"errorCode":100}`}, {`500 {"errorCode":300,"message":"x"}`},
		{size, some, `412 {"errorCode":105}`}, {`200 {"node":{"value":"1"}}`, some, some, made, some}, {`<html>`}, {`200 {"node":null}`}, {size, `200 {"node":{"nodes":[{"value":"=,=&="}]}}`}} {
		f.Add(strings.Join(s, "\n"))
	}
	f.Fuzz(func(t *testing.T, text string) {
		defer fuzz.Frugal(t, 32<<20)()
		for _, id := range []string{"", "5"} {
			ctx, cancel := context.WithCancel(context.Background())
			k := &talker{answers: strings.Split(text, "\n"), done: cancel}
			token := &Token{URL: "http://h/v2/keys/t", Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
			r := &registering{Token: token, http: &http.Client{Transport: k}, base: token.URL, id: id, urls: "me=http://me:1"}
			given := len(k.answers)
			s, err := r.try(ctx)
			cancel()
			require.LessOrEqual(t, k.asked, given+1)
			if err != nil {
				require.Empty(t, s)
				require.NotEmpty(t, err.Error())
				continue
			}
			names := map[string]bool{}
			for pair := range strings.SplitSeq(s, ",") {
				name, u, ok := strings.Cut(pair, "=")
				require.True(t, ok && name != "" && u != "", s)
				names[name] = true
			}
			require.NotEmpty(t, names)
		}
	})
}

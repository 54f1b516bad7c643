package ctl2

import (
	"fmt"
	"math/rand/v2"
)

// generate makes random command lines on a few keys, so that many fail and many succeed.
func generate(seed uint64, n int) (out []line) {
	r := rand.New(rand.NewPCG(seed, 2))
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	key := func() string {
		k := pick("/g", "g", "/g/", "/g//a", "/g/a/../b", "/g/d", "/g/_h", "/g/ü x", "/")
		if r.IntN(2) == 0 {
			k = pick("/g/a", "/g/b", "/g/d/a", "/g/d/b", "/g/a/below", "/g/_h/x")
		}
		return k
	}
	maybe := func(chance int, words ...string) []string {
		if r.IntN(chance) == 0 {
			return words
		}
		return nil
	}
	for range n {
		var l line
		l.words = append(l.words, maybe(2, "-o", pick("simple", "extended", "json"))...)
		l.words = append(l.words, maybe(4, "--no-sync")...)
		var words, options []string
		switch command := pick("get", "ls", "set", "set", "set", "mk", "mk", "update", "mkdir", "setdir", "updatedir", "rm", "rm", "rmdir", "watch"); command {
		case "get":
			words = []string{command, key()}
			options = append(maybe(3, "--quorum"), maybe(3, "--sort")...)
		case "ls":
			words = []string{command, key()}
			options = append(append(maybe(2, "--recursive"), maybe(2, "-p")...), "--sort")
		case "set":
			words = []string{command, key(), pick("1", "2", "a b", "", "<&>", "ü")}
			options = append(append(maybe(4, "--ttl", "100"), maybe(4, "--swap-with-value", pick("1", "2"))...), maybe(5, "--swap-with-index", fmt.Sprint(r.IntN(60)))...)
		case "mk":
			words = []string{command, key(), pick("1", "2")}
			options = append(maybe(4, "--ttl", "100"), maybe(4, "--in-order")...)
		case "update":
			words = []string{command, key(), pick("1", "2")}
			options = maybe(4, "--ttl", "100")
		case "mkdir", "setdir", "updatedir":
			words = []string{command, key()}
			options = maybe(3, "--ttl", "100")
		case "rm":
			words = []string{command, key()}
			options = append(append(maybe(3, "--recursive"), maybe(4, "--dir")...), maybe(5, "--with-value", pick("1", "2"))...)
		case "rmdir":
			words = []string{command, key()}
		case "watch":
			words = []string{command, "/"}
			options = []string{"--recursive", "--after-index", fmt.Sprint(1 + r.IntN(20))}
		}
		if r.IntN(2) == 0 {
			words = append(words, options...)
		} else {
			words = append(append([]string{words[0]}, options...), words[1:]...)
		}
		l.words = append(l.words, words...)
		out = append(out, l)
	}
	return out
}

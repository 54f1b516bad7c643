package ctl2

import (
	"regexp"
	"slices"
	"strings"
)

// known is a difference that has a reason.
type known struct {
	name string
	// same makes outcomes equal that differ for this reason.
	same func(outcome) outcome
	// lines says where it may show; nil means everywhere.
	lines func(line) bool
}

func has(words ...string) func(line) bool {
	return func(l line) bool {
		return !slices.ContainsFunc(words, func(w string) bool { return !slices.Contains(l.words, w) })
	}
}

func out(f func(string) string) func(outcome) outcome {
	return func(o outcome) outcome { o.stdout = f(o.stdout); return o }
}

func errs(f func(string) string) func(outcome) outcome {
	return func(o outcome) outcome { o.stderr = f(o.stderr); return o }
}

var (
	version   = regexp.MustCompile(`(?m)^(   |etcdctl version: )3\.\d+\.\d+$`)
	trailing  = regexp.MustCompile(`(?m)[ \t]+$`)
	incorrect = regexp.MustCompile(`^Incorrect Usage[.:].*\n`)
	setText   = regexp.MustCompile(`(?s)DESCRIPTION:.*OPTIONS:`)
	dirIndex  = regexp.MustCompile(`("dir":true,.*?"modifiedIndex":)\d+`)
)

// knownDifferences are those between 3.4 and cairn's command line, which has the words of 3.1.5, and between the servers.
var knownDifferences = []known{
	{name: "the version is the tool's own", same: out(func(s string) string { return version.ReplaceAllString(s, "VERSION") })},
	{name: "the library that 3.4 makes its help with has another layout", same: out(func(s string) string {
		if !strings.Contains(s, "NAME:") {
			return s
		}
		s = trailing.ReplaceAllString(s, "")
		s = strings.ReplaceAll(s, "\n     ", "\n   ")
		return incorrect.ReplaceAllString(strings.TrimRight(s, "\n"), "Incorrect Usage.\n")
	})},
	{name: "the description of set has words of its own", same: out(func(s string) string {
		if !strings.Contains(s, "etcdctl set -") {
			return s
		}
		return setText.ReplaceAllString(s, "")
	})},
	{name: "etcd shows an updated directory with its old index", same: out(func(s string) string { return dirIndex.ReplaceAllString(s, "${1}N") })},
	{name: "help of help has a name, and that of a group is always the same", lines: func(l line) bool { return slices.Contains(l.words, "help") }, same: out(func(s string) string {
		if strings.Contains(s, "[command]\n") || strings.HasSuffix(s, "[command]") {
			return "HELP OF HELP"
		}
		if strings.Contains(s, "etcdctl member -") {
			return "HELP OF A GROUP"
		}
		return s
	})},
	{name: "backup always takes what v3 has, and says otherwise what it misses", lines: has("backup"), same: func(o outcome) outcome {
		o.stdout = strings.ReplaceAll(o.stdout, "\n   --with-v3               Backup v3 backend data", "")
		if o.code == 1 {
			o.stderr = "WHY"
		}
		return o
	}},
	{name: "requests for health are traced, too", lines: has("--debug", "cluster-health"), same: errs(func(s string) string {
		return strings.ReplaceAll(s, "cURL Command: curl -X GET http://ADDR/health\n", "")
	})},
	{name: "the guide is another one", lines: has("member", "remove", "default"), same: errs(func(s string) string {
		return regexp.MustCompile(`For more details.*`).ReplaceAllString(s, "GUIDE")
	})},
	{name: "a refused connection lets also a request that is sent once try the next endpoint, and the answer names all", lines: has("mk", "http://127.0.0.1:1"), same: errs(func(s string) string {
		return regexp.MustCompile(`(?s)^Error:  .*connection refused\n+$`).ReplaceAllString(s, "REFUSED")
	})},
	{name: "a user needs a name", lines: has("user", "add", ":pw"), same: errs(func(string) string { return "NO NAME" })},
	{name: "roles have one blank before them", lines: has("user", "get"), same: out(func(s string) string { return strings.Replace(s, "Roles:  ", "Roles: ", 1) })},
	{name: "the server's words are shown for all refusals", same: errs(func(s string) string {
		if s == "unexpected status code 401\n" {
			return "Insufficient credentials\n"
		}
		return s
	})},
	{name: "passwd asks the server before it asks for a password", lines: has("user", "passwd"), same: out(func(s string) string {
		return strings.TrimPrefix(s, "New password: \n")
	})},
	{name: "etcd lists in any order", same: out(func(s string) string {
		words := strings.Split(s, "\n")
		slices.Sort(words)
		return strings.Join(words, "\n")
	}), lines: func(l line) bool { return slices.Contains(l.words, "ls") && !slices.Contains(l.words, "--sort") }},
}

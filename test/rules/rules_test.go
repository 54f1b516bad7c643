// Package rules holds the tests against the specification: each of its rules is named by a test that shows it.
package rules

import (
	"bufio"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var rule = regexp.MustCompile(`\b[A-Z]-[0-9]{2,3}\b`)

// TestEveryRuleIsShown reads the rules of the v2 API, one a line, and looks for the name of each in the tests of the
// repository. One that is not met yet has its reason behind it, and may not be named.
func TestEveryRuleIsShown(t *testing.T) {
	named := map[string]string{}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, id := range rule.FindAllString(string(b), -1) {
			named[id] = path
		}
		return err
	})
	require.NoError(t, err)
	f, err := os.Open("testdata/v2-http.txt")
	require.NoError(t, err)
	defer f.Close()
	rules, later := 0, 0
	for in := bufio.NewScanner(f); in.Scan(); {
		id, reason, _ := strings.Cut(in.Text(), " ")
		if id == "" || id[0] == '#' {
			continue
		}
		rules++
		require.Regexp(t, `^`+rule.String()+`$`, id)
		switch where, ok := named[id]; {
		case reason == "" && !ok:
			t.Errorf("no test names %s", id)
		case reason != "" && ok:
			t.Errorf("%s is said to be open (%s), and %s names it", id, reason, where)
		case reason != "":
			later++
		}
	}
	require.Equal(t, 332, rules, "the specification has this many")
	t.Logf("%d rules, %d of them for later", rules, later)
}

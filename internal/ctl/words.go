package ctl

import (
	"fmt"
	"strconv"
	"strings"
)

// splitWords cuts an interactive line into words: "double quoted" with Go's
// escapes, 'single quoted' as it is, or bare. A quoted word ends at its quote
// and must be followed by a blank.
func splitWords(line string) ([]string, error) {
	var words []string
	for rest := strings.TrimSpace(line); rest != ""; rest = strings.TrimLeft(rest, " \t\r\n") {
		var word string
		switch rest[0] {
		case '"':
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return nil, fmt.Errorf("broken quoting in %q", rest)
			}
			if word, err = strconv.Unquote(quoted); err != nil {
				return nil, fmt.Errorf("broken quoting in %q", rest)
			}
			rest = rest[len(quoted):]
		case '\'':
			end := strings.IndexByte(rest[1:], '\'')
			if end < 0 {
				return nil, fmt.Errorf("broken quoting in %q", rest)
			}
			word, rest = rest[1:1+end], rest[2+end:]
		default:
			end := strings.IndexAny(rest, " \t\r\n")
			if end < 0 {
				end = len(rest)
			}
			word, rest = rest[:end], rest[end:]
		}
		if rest != "" && !strings.ContainsRune(" \t\r\n", rune(rest[0])) {
			return nil, fmt.Errorf("expected a blank before %q", rest)
		}
		words = append(words, word)
	}
	return words, nil
}

// byPrefix picks the one name that word abbreviates, "" when none or several do.
func byPrefix(word string, names ...string) string {
	found := ""
	for _, n := range names {
		if n == word {
			return n
		}
		if strings.HasPrefix(n, word) {
			if found != "" {
				return ""
			}
			found = n
		}
	}
	return found
}

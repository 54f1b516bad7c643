package ctl

import (
	"bufio"
	"io"
	"strings"

	"github.com/cairn-kv/cairn/internal/prompt"
)

// askPassword asks on stderr, so that stdout stays what the command prints.
func (a *app) askPassword(question string) (string, error) {
	line, err := prompt.Secret(a.Stdin, a.Stderr, question)
	return strings.TrimSpace(line), err
}

// readWord reads one word of stdin, delimited by blanks, for --interactive=false.
func readWord(r io.Reader) (string, error) {
	s := bufio.NewScanner(r)
	s.Split(bufio.ScanWords)
	if s.Scan() {
		return s.Text(), nil
	}
	if err := s.Err(); err != nil {
		return "", err
	}
	return "", io.EOF
}

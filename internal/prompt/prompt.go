// Package prompt asks whoever runs a command line tool: a line of standard input, and a secret without echo.
//
// It must never know what the answer is for.
package prompt

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

const longest = 64 << 10 // of a line, in bytes

// Secret writes a question to out and reads one line of in, without echo where that is a terminal. A pipe works. io.EOF
// says that there was nothing at all.
func Secret(in io.Reader, out io.Writer, question string) (string, error) {
	fmt.Fprint(out, question)
	defer fmt.Fprintln(out)
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		b, err := term.ReadPassword(int(f.Fd()))
		return string(b), err
	}
	line, err := Line(in)
	if errors.Is(err, io.EOF) && line != "" {
		err = nil
	}
	return strings.TrimSuffix(line, "\r"), err
}

// Line reads one line byte by byte: what follows belongs to somebody else. The end of input is io.EOF, with what is before.
func Line(r io.Reader) (string, error) {
	var line []byte
	var b [1]byte
	for {
		n, err := r.Read(b[:])
		if n > 0 {
			if b[0] == '\n' {
				return string(line), nil
			}
			if len(line) == longest {
				return "", fmt.Errorf("a line of the input has more than %d bytes", longest)
			}
			line = append(line, b[0])
		}
		if err != nil {
			return string(line), err
		}
	}
}

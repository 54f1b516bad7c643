package prompt

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSecretTakesOneLine(t *testing.T) {
	in := strings.NewReader("first:x \r\nsecond\nthird")
	var out bytes.Buffer
	for _, want := range []string{"first:x ", "second", "third"} {
		got, err := Secret(in, &out, "Password: ")
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := Secret(in, &out, "Password: ")
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, strings.Repeat("Password: \n", 4), out.String())
}

func TestLinesAreBounded(t *testing.T) {
	_, err := Line(strings.NewReader(strings.Repeat("x", longest+1)))
	require.ErrorContains(t, err, "more than 65536 bytes")
}

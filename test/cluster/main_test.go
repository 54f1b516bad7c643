package cluster

import (
	"flag"
	"os"
	"testing"

	"github.com/cairn-kv/cairn/test/process"

	// Nothing of it is used: go test must not answer from its cache when the server has changed.
	_ "github.com/cairn-kv/cairn"
)

var long = flag.Bool("long", false, "run the long variants")

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(process.Main(m))
}

const patience = process.Patience

var within = process.Within

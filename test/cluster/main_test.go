package cluster

import (
	"flag"
	"os"
	"testing"

	"github.com/cairn-kv/cairn/test/process"
)

var long = flag.Bool("long", false, "run the long variants")

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(process.Main(m))
}

const patience = process.Patience

var within = process.Within

// Command etcd is the real etcd server of the version that this module requires, built from its own packages, so that
// comparisons run against it without a download.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }

// Command etcd36 is the real etcd server of the minor before that of command etcd, in a module of its own: one module
// cannot require two versions.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }

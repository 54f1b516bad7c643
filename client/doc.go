// Package client is cairn's Go client: key-value operations, watches, leases,
// cluster, maintenance and auth calls over gRPC, in the shape that users of
// etcd's clientv3 know. It speaks the public etcd v3 API and works against any
// server of that API.
//
// A Client is safe for concurrent use. It is silent: it writes no logs unless
// Config.Logger is set. Every call takes a context and ends when that context
// ends; no call adds a deadline of its own.
//
//	cli, err := client.New(client.Config{Endpoints: []string{"127.0.0.1:2379"}})
//	if err != nil { ... }
//	defer cli.Close()
//	_, err = cli.Put(ctx, "greeting", "hello")
//
// Errors known to the API compare equal to the values of package
// go.etcd.io/etcd/api/v3/v3rpc/rpctypes. A write that fails with an Unavailable
// code or a deadline has an unknown outcome; see retry.go for what is retried.
//
// The package must never know anything of cairn's server: it imports the wire
// messages and gRPC only.
package client

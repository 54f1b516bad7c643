// Package peers lets the transport of cairn's members and that of etcd's talk to each other: what one sends, the other has
// to take. It holds tests only, and the benchmark of etcd's transport that belongs to peer.BenchmarkSend.
package peers

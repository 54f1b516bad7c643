// Package official drives the real binary with etcd's own Go client: everything here goes through a process, a socket
// and a data directory. Its tests kill the process, damage its files and send it rubbish.
//
// It must never use a package of the server: what it knows, a user can know.
//
//	go test ./test/official          the short variants, under a minute
//	go test ./test/official -long    many more kills, clients and bytes
//
// CAIRN_BIN names a binary to test in place of one built from this tree.
package official

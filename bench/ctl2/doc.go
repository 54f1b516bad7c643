// Package ctl2 compares cairn's v2 command line with the etcdctl of the distribution, version 3.4 with ETCDCTL_API=2: each
// of the two runs the same command lines, hundreds of them, against a cairn and an etcd of its own. What they print, where,
// and their exit codes must be the same, and the same on both servers, but for the differences that known_test.go lists with
// their reasons.
//
// It must never import anything of cairn: it knows what a user knows.
//
//	go test ./ctl2 -v              in the folder bench; skipped where Debian's packages are neither installed nor to be fetched
//	go test ./ctl2 -seed 7 -n 500  other random command lines, more of them
package ctl2

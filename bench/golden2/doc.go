// Package golden2 compares the answers of cairn's v2 HTTP API with those of the etcd 3.4 of the distribution: the same random
// requests go to both, byte by byte as they are on the wire.
package golden2

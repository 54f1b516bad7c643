// Package network drives three members, each in a network namespace of its own, through the official client: while the
// network between them is cut, processes are killed or stopped, and disks hang, are slow or full. What clients saw is
// checked with porcupine.
//
// It needs root on Linux and makes namespaces and loop mounts, so its tests are skipped unless CAIRN_NETWORK_TESTS=1 is
// set; run.sh does that. All it makes carries a prefix of its own, is reached from no other namespace, and is removed at
// the end.
package network

// Package cluster drives several members, each the built binary in a process of its own, through the official client:
// what they promise together must hold when one of them is killed, stopped, replaced or far behind.
package cluster

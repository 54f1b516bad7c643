// Package mixed runs clusters of etcd's and cairn's members: the peer protocol, the effects of every entry and the
// snapshots have to be the same for both.
package mixed

// Package measure runs the same work against two servers in turn and takes figures of it: what a client sees, and what the
// kernel counts for the server's process. It talks to servers only through gRPC: it must never import anything of cairn's
// inside, or know what a good figure is for any other reason than the target written beside its row.
//
// A scene is a pair of servers with the same data, and rows that are measured on them round by round. The server that is
// not being measured is stopped by a signal.
package measure

// Package files checks that the files cairn writes are etcd's: etcd's own packages open them, and an etcd goes on where
// cairn was. It must never import anything of cairn's inside: what it knows of a file it knows from etcd.
package files

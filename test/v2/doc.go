// Package v2 drives members that serve the v2 API with the v2 command line, each a process of its own: the built binary under
// the name etcdctl, with ETCDCTL_API=2, as scripts call it.
//
// It must never use a package of the server or of the command line: what it knows, a user can know.
package v2

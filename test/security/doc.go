// Package security attacks the built binary from outside, with TLS and users switched on, as somebody who has no business there.
// It knows nothing of the server but its addresses.
package security

// Package wire holds the bytes that the API, the log and the database share: key-value records, revision keys,
// log commands, the request bodies that ride in them, response frames and the catalogue of errors.
//
// A record or a request body is encoded once and then only passed on by reference. Wire must never know how anything
// is stored, replicated or served: it sees bytes, and has no state.
package wire

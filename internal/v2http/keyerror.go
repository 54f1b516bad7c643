package v2http

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/cairn-kv/cairn/internal/tree"
)

// The codes of the v2 API that the tree does not give (v2-http.md section 8).
const (
	codeUnauthorized      = 110
	codePrevValueRequired = 201
	codeTTLNaN            = 202
	codeIndexNaN          = 203
	codeInvalidField      = 209
	codeInvalidForm       = 210
	codeRefreshValue      = 211
	codeRefreshTTL        = 212
	codeRaftInternal      = 300
	codeWatcherCleared    = 400
)

var keyErrors = map[int]struct {
	message string
	status  int
}{
	tree.CodeNotFound:     {"Key not found", http.StatusNotFound},
	tree.CodeTestFailed:   {"Compare failed", http.StatusPreconditionFailed},
	tree.CodeNotFile:      {"Not a file", http.StatusForbidden},
	tree.CodeNotDir:       {"Not a directory", http.StatusBadRequest},
	tree.CodeExists:       {"Key already exists", http.StatusPreconditionFailed},
	tree.CodeRootReadOnly: {"Root is read only", http.StatusBadRequest},
	tree.CodeNotEmpty:     {"Directory not empty", http.StatusForbidden},
	codeUnauthorized:      {"The request requires user authentication", http.StatusUnauthorized},
	codePrevValueRequired: {"PrevValue is Required in POST form", http.StatusBadRequest},
	codeTTLNaN:            {"The given TTL in POST form is not a number", http.StatusBadRequest},
	codeIndexNaN:          {"The given index in POST form is not a number", http.StatusBadRequest},
	codeInvalidField:      {"Invalid field", http.StatusBadRequest},
	codeInvalidForm:       {"Invalid POST form", http.StatusBadRequest},
	codeRefreshValue:      {"Value provided on refresh", http.StatusBadRequest},
	codeRefreshTTL:        {"A TTL must be provided on refresh", http.StatusBadRequest},
	codeRaftInternal:      {"Raft Internal Error", http.StatusInternalServerError},
	codeWatcherCleared:    {"watcher is cleared due to etcd recovery", http.StatusBadRequest},
	tree.CodeCleared:      {"The event in requested index is outdated and cleared", http.StatusBadRequest},
}

// keyStatus is the HTTP status of an error of /v2/keys.
func keyStatus(err error) int {
	code, _, _ := keyFailure(err)
	return keyErrors[code].status
}

func keyFailure(err error) (code int, cause string, index uint64) {
	code, cause = codeRaftInternal, err.Error()
	var fromTree *tree.Error
	var refused *refusal
	switch {
	case errors.As(err, &fromTree):
		code, cause, index = fromTree.Code, fromTree.Cause, fromTree.Index
	case errors.As(err, &refused):
		code, cause = refused.code, refused.cause
	}
	return code, cause, index
}

// keyError answers with an error in the form of /v2/keys.
func keyError(w http.ResponseWriter, err error) {
	code, cause, index := keyFailure(err)
	e := keyErrors[code]
	failed(w, e.message)
	b := append([]byte(`{"errorCode":`), strconv.Itoa(code)...)
	b = appendString(append(b, `,"message":`...), e.message)
	if cause != "" {
		b = appendString(append(b, `,"cause":`...), cause)
	}
	b = strconv.AppendUint(append(b, `,"index":`...), index, 10)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Etcd-Index", strconv.FormatUint(index, 10))
	w.WriteHeader(e.status)
	_, _ = w.Write(append(b, '}', '\n'))
}

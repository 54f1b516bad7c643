package tree

import "fmt"

// Error is a refusal in the form of the v2 API (v2-http.md section 8). It changes nothing and takes no index.
type Error struct {
	Code  int
	Cause string
	Index uint64 // of the store, at that moment
}

// The codes that the tree itself gives.
const (
	CodeNotFound     = 100
	CodeTestFailed   = 101
	CodeNotFile      = 102
	CodeNotDir       = 104
	CodeExists       = 105
	CodeRootReadOnly = 107
	CodeNotEmpty     = 108
	CodeCleared      = 401
)

func (e *Error) Error() string {
	return fmt.Sprintf("tree: code %d (%s) at index %d", e.Code, e.Cause, e.Index)
}

func (t *Tree) refuse(code int, cause string) *Error { return &Error{code, cause, t.index} }

func clearedCause(oldest, asked uint64) string {
	return fmt.Sprintf("the requested history has been cleared [%d/%d]", oldest, asked)
}

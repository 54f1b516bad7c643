package audit

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Class is what a call is about. Higher ones matter more.
type Class int

// Classes of calls.
const (
	Read  Class = iota // looks at keys, leases, the cluster
	Write              // changes keys and leases
	Admin              // users, roles, logins, members, alarms, whole copies of the data
)

var classes = [...]string{Read: "read", Write: "write", Admin: "admin"}

func (c Class) String() string { return classes[c] }

// Levels of an audit log: from which class on calls are in it.
var levels = map[string]Class{"all": Read, "writes": Write, "admin": Admin}

const (
	mostKeys  = 32  // of one record
	mostBytes = 256 // of one key or name
	mostError = 512 // bytes of an error's text
)

// Record is one call and what came of it. There is no field for a value, a password or a token, and nobody may put one into
// another field.
type Record struct {
	Began  time.Time
	API    string // v3 or v2
	Method string
	Class  Class
	// User is who is known to have called, "" for nobody. Login is the name that a password was given for.
	User, Login string
	From        string // address of the caller
	Gateway     bool   // the call came as JSON
	Refused     bool   // for who the caller is, or is not
	Code        string // gRPC's name of the code, or the status of HTTP
	Error       string
	Revision    int64
	Recursive   bool   // with everything below the key, in v2
	Watch       *int64 // ID that a watch is asked for under, or cancelled by
	Succeeded   *bool  // which branch of a transaction ran

	// What the call is about.
	OfUser, OfRole, Permission string
	Leases                     []int64
	Members                    []uint64
	keys                       []key
	left                       int // keys that are not told
}

// Touch adds a key, or a range of keys if end is not empty, and what is done with it. branch is that of a transaction, "" outside
// of one.
func (r *Record) Touch(op, branch string, k, end []byte) {
	if len(r.keys) == mostKeys {
		r.left++
		return
	}
	r.keys = append(r.keys, newKey(op, branch, string(cut(k)), string(cut(end)), len(k), len(end)))
}

// cut is what is told of a key.
func cut(b []byte) []byte { return b[:min(len(b), mostBytes)] }

// key is how a key is told: text if it is UTF-8, else base64; with its length if it is not told whole.
type key struct {
	Op        string `json:"op"`
	Branch    string `json:"branch,omitempty"`
	Key       string `json:"key,omitempty"`
	Key64     string `json:"key_base64,omitempty"`
	KeyLength int    `json:"key_length,omitempty"`
	End       string `json:"range_end,omitempty"`
	End64     string `json:"range_end_base64,omitempty"`
	EndLength int    `json:"range_end_length,omitempty"`
}

func newKey(op, branch, k, end string, keyLength, endLength int) key {
	out := key{Op: op, Branch: branch}
	out.Key, out.Key64, out.KeyLength = tell(k, keyLength)
	out.End, out.End64, out.EndLength = tell(end, endLength)
	return out
}

func tell(s string, length int) (text, coded string, whole int) {
	if length > len(s) {
		whole = length
		s = wholeRunes(s)
	}
	if utf8.ValidString(s) {
		return s, "", whole
	}
	return "", base64.StdEncoding.EncodeToString([]byte(s)), whole
}

// wholeRunes leaves out what a cut has left of the last character.
func wholeRunes(s string) string {
	for i := 1; i < utf8.UTFMax && i <= len(s); i++ {
		if c := s[len(s)-i]; utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRuneInString(s[len(s)-i:]) {
				return s[:len(s)-i]
			}
			break
		}
	}
	return s
}

// line is a record's form in the file.
type line struct {
	Time       string   `json:"ts"`
	API        string   `json:"api"`
	Class      string   `json:"class,omitempty"`
	Method     string   `json:"method"`
	User       string   `json:"user"`
	Login      string   `json:"login,omitempty"`
	From       string   `json:"from,omitempty"`
	Gateway    bool     `json:"gateway,omitempty"`
	Keys       []key    `json:"keys,omitempty"`
	Left       int      `json:"keys_left_out,omitempty"`
	Recursive  bool     `json:"recursive,omitempty"`
	Leases     []string `json:"leases,omitempty"`
	OfUser     string   `json:"of_user,omitempty"`
	OfRole     string   `json:"of_role,omitempty"`
	Permission string   `json:"permission,omitempty"`
	Members    []string `json:"members,omitempty"`
	Watch      *int64   `json:"watch_id,omitempty"`
	Succeeded  *bool    `json:"succeeded,omitempty"`
	Revision   int64    `json:"revision,omitempty"`
	Code       string   `json:"code"`
	Error      string   `json:"error,omitempty"`
	Took       int64    `json:"took_us"`
}

const timeForm = "2006-01-02T15:04:05.000000Z07:00"

func (r *Record) line(now time.Time) line {
	l := line{Time: now.UTC().Format(timeForm), API: r.API, Class: r.Class.String(), Method: r.Method, User: short(r.User, mostBytes),
		Login: short(r.Login, mostBytes), From: r.From, Gateway: r.Gateway, Keys: r.keys, Left: r.left, Recursive: r.Recursive, OfUser: short(r.OfUser, mostBytes),
		OfRole: short(r.OfRole, mostBytes), Permission: r.Permission, Watch: r.Watch, Succeeded: r.Succeeded, Revision: r.Revision, Code: r.Code,
		Error: short(r.Error, mostError), Took: now.Sub(r.Began).Microseconds()}
	for _, id := range r.Leases {
		l.Leases = append(l.Leases, strconv.FormatUint(uint64(id), 16))
	}
	for _, id := range r.Members {
		l.Members = append(l.Members, strconv.FormatUint(id, 16))
	}
	return l
}

func short(s string, most int) string {
	if len(s) > most {
		s = wholeRunes(s[:most]) + "…"
	}
	return s
}

// encode is a JSON object and a line's end.
func encode(v any) []byte {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // strings and numbers have a JSON form
	}
	return []byte(b.String())
}

// Package limits is the table of what users and prefixes are limited to, as part of the replicated state: rates of requests,
// and quotas of keys and bytes.
//
// It must never know the time, a request's caller or how much there is: those who do ask it for the rules.
package limits

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/cairn-kv/cairn/internal/wire"
)

// Bounds of what may be set.
const (
	MaxRules  = 1000
	MaxDepth  = 16   // prefixes with a rule that one key may begin with
	MaxName   = 1024 // bytes of a user's name or a prefix
	MaxRate   = 1_000_000_000
	MaxAmount = 1 << 53 // keys or bytes: what a number of JSON can hold
)

// Kind says what a rule is for.
type Kind string

// The kinds of rules.
const (
	User   Kind = "user"
	Prefix Kind = "prefix"
)

// Target is whom or what a rule is for. No two rules have the same.
type Target struct {
	Kind Kind   `json:"kind"`
	Name []byte `json:"name"` // of the user, or the prefix; an empty prefix stands for all keys
}

// Rule is what one user or prefix is limited to; 0 stands for no limit. It never changes. Its JSON is what the log, the database
// and the API hold.
type Rule struct {
	Target
	WritesPerSecond int64 `json:"writesPerSecond,omitempty"`
	WriteBurst      int64 `json:"writeBurst,omitempty"` // how many writes may come at once
	ReadsPerSecond  int64 `json:"readsPerSecond,omitempty"`
	ReadBurst       int64 `json:"readBurst,omitempty"`
	MaxKeys         int64 `json:"maxKeys,omitempty"`
	MaxBytes        int64 `json:"maxBytes,omitempty"` // of keys and their newest values
}

// Append appends the rule's encoding.
func (r *Rule) Append(b []byte) []byte {
	text, err := json.Marshal(r)
	if err != nil {
		panic("limits: a rule without an encoding: " + err.Error()) // there are numbers and bytes in it
	}
	return append(b, text...)
}

// Append appends the target's encoding.
func (t *Target) Append(b []byte) []byte { return (&Rule{Target: *t}).Append(b) }

// ParseRule decodes a rule and checks it. A burst that is not given is the rate of one second.
func ParseRule(b []byte) (*Rule, error) {
	r := &Rule{}
	if err := decode(b, r); err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	for _, f := range []struct {
		name        string
		rate, burst *int64
	}{{"write", &r.WritesPerSecond, &r.WriteBurst}, {"read", &r.ReadsPerSecond, &r.ReadBurst}} {
		for _, v := range []int64{*f.rate, *f.burst} {
			if v < 0 || v > MaxRate {
				return nil, fmt.Errorf("a rate or burst of %ss has to be from 0 to %d, not %d", f.name, MaxRate, v)
			}
		}
		switch {
		case *f.rate == 0 && *f.burst != 0:
			return nil, fmt.Errorf("a burst of %ss needs a rate of them", f.name)
		case *f.burst == 0:
			*f.burst = *f.rate
		}
	}
	for _, v := range []int64{r.MaxKeys, r.MaxBytes} {
		if v < 0 || v > MaxAmount {
			return nil, fmt.Errorf("a quota has to be from 0 to %d, not %d", int64(MaxAmount), v)
		}
	}
	switch {
	case r.Kind == User && r.Quota():
		return nil, errors.New("a user has no quota: set one for a prefix")
	case !r.Quota() && r.WritesPerSecond == 0 && r.ReadsPerSecond == 0:
		return nil, errors.New("nothing is limited: give a rate or a quota, or remove the limit")
	}
	return r, nil
}

// ParseTarget decodes a target and checks it.
func ParseTarget(b []byte) (Target, error) {
	var t Target
	if err := decode(b, &t); err != nil {
		return t, err
	}
	return t, t.check()
}

func decode(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("malformed limit: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("malformed limit: there is something behind it")
	}
	return nil
}

func (t *Target) check() error {
	switch {
	case t.Kind != User && t.Kind != Prefix:
		return fmt.Errorf("a limit is for a user or a prefix, not for %q", t.Kind)
	case t.Kind == User && len(t.Name) == 0:
		return errors.New("the name of the user is empty")
	case len(t.Name) > MaxName:
		return fmt.Errorf("the name of a user, or a prefix, has at most %d bytes", MaxName)
	}
	return nil
}

// String is the target as errors name it.
func (t *Target) String() string { return fmt.Sprintf("%s %q", t.Kind, t.Name) }

// Quota reports whether the rule limits what there is, not only how often it is asked for.
func (r *Rule) Quota() bool { return r.MaxKeys > 0 || r.MaxBytes > 0 }

// Range are the keys below a prefix.
func (t *Target) Range() wire.Range {
	end := bytes.Clone(t.Name)
	for len(end) > 0 && end[len(end)-1] == 0xff {
		end = end[:len(end)-1]
	}
	if len(end) > 0 {
		end[len(end)-1]++
	}
	return wire.Range{Lo: string(t.Name), Hi: string(end)}
}

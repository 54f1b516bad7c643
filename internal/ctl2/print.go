package ctl2

import (
	"encoding/json"

	"github.com/cairn-kv/cairn/internal/v2client"
)

// print shows what a request led to, in the format that was asked for. The request has happened: a format that there is not
// is no failure (G-67).
func (a *app) print(r *v2client.Result) error {
	removed := r.Action == "delete"
	switch a.g.output {
	case simple:
		if removed {
			a.say("PrevNode.Value: %s", before(r))
		} else {
			a.say("%s", r.Node.Value)
		}
	case extended:
		a.say("Key: %s", r.Node.Key)
		a.say("Created-Index: %d", r.Node.CreatedIndex)
		a.say("Modified-Index: %d", r.Node.ModifiedIndex)
		if r.PrevNode != nil {
			a.say("PrevNode.Value: %s", before(r))
		}
		a.say("TTL: %d", r.Node.TTL)
		a.say("Index: %d", r.Index)
		if !removed {
			a.say("\n%s", r.Node.Value)
		}
	case inJSON:
		b, err := json.Marshal(r)
		if err != nil {
			return refused(err)
		}
		a.say("%s", b)
	default:
		a.warn("Unsupported output format: %s", a.g.output)
	}
	return nil
}

// printUnlessSimple shows what a command on a directory led to, in the formats that show more than a value.
func (a *app) printUnlessSimple(r *v2client.Result) error {
	if a.g.output == simple {
		return nil
	}
	return a.print(r)
}

// printUnlessDir shows what the removal of a key or a directory led to.
func (a *app) printUnlessDir(r *v2client.Result) error {
	if r.Node.Dir {
		return a.printUnlessSimple(r)
	}
	return a.print(r)
}

func before(r *v2client.Result) string {
	if r.PrevNode == nil {
		return ""
	}
	return r.PrevNode.Value
}

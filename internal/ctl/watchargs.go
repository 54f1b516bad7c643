package ctl

import (
	"io"

	"github.com/spf13/pflag"

	"github.com/cairn-kv/cairn/client"
)

// watchOptions are the flags of watch, on the command line or on a line of its
// interactive mode.
type watchOptions struct {
	prefix, prevKV, progressNotify bool
	rev                            int64
}

func (o *watchOptions) addTo(f *pflag.FlagSet) {
	f.BoolVar(&o.prefix, "prefix", false, "Watch on a prefix if prefix is set")
	f.Int64Var(&o.rev, "rev", 0, "Revision to start watching")
	f.BoolVar(&o.prevKV, "prev-kv", false, "get the previous key-value pair before the event happens")
	f.BoolVar(&o.progressNotify, "progress-notify", false, "get periodic watch progress notification from server")
}

// watchRequest is one watch to make: a key, its options, and the command to run
// per event, if any.
type watchRequest struct {
	key  string
	opts []client.OpOption
	exec []string
}

// parseWatch takes the words before and after the first "--" (dash is its place,
// -1 for none) and the two variables that can stand for key and range end.
func (o *watchOptions) parseWatch(args []string, dash int, envKey, envEnd string) (watchRequest, error) {
	var r watchRequest
	words := args
	if dash >= 0 {
		words, r.exec = args[:dash], args[dash:]
		if len(r.exec) == 0 {
			return r, badArgs("bad number of arguments (found separator --, but no commands)")
		}
	}
	if envKey == "" && envEnd != "" {
		return r, badArgs("ETCDCTL_WATCH_KEY is empty but got ETCDCTL_WATCH_RANGE_END=%q", envEnd)
	}
	end, hasEnd := "", false
	switch {
	case envKey != "" && len(words) > 0:
		return r, badArgs("bad number of arguments (found conflicting environment key)")
	case envKey != "":
		r.key, end, hasEnd = envKey, envEnd, envEnd != ""
	case len(words) == 0 || len(words) > 2:
		return r, badArgs("bad number of arguments")
	default:
		r.key = words[0]
		if len(words) == 2 {
			end, hasEnd = words[1], true
		}
	}
	switch {
	case hasEnd && o.prefix:
		return r, badArgs("`range_end` and `--prefix` are mutually exclusive")
	case hasEnd:
		r.opts = append(r.opts, client.WithRange(end))
	case o.prefix:
		r.opts = append(r.opts, client.WithPrefix())
	}
	r.opts = append(r.opts, client.WithRev(o.rev))
	if o.prevKV {
		r.opts = append(r.opts, client.WithPrevKV())
	}
	if o.progressNotify {
		r.opts = append(r.opts, client.WithProgressNotify())
	}
	return r, nil
}

// parseWatchLine parses the words after "watch" on an interactive line. Every
// line begins with the defaults.
func parseWatchLine(words []string) (watchRequest, error) {
	var o watchOptions
	f := pflag.NewFlagSet("watch", pflag.ContinueOnError)
	f.SetOutput(io.Discard)
	o.addTo(f)
	if err := f.Parse(words); err != nil {
		return watchRequest{}, badArgs("%w", err)
	}
	return o.parseWatch(f.Args(), f.ArgsLenAtDash(), "", "")
}

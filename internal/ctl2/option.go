package ctl2

import (
	"flag"
	"fmt"
	"io"
	"strings"
	"time"
)

// option is one option of a command, under one or more names.
type option struct {
	names    []string
	text     string // what help says
	value    string // what stands for its value in help, "" if it is a switch
	standard string // what help says that it is without it
	hidden   bool   // from help
	define   func(fs *flag.FlagSet, name string)
}

func toggle(p *bool, text string, names ...string) option {
	return option{names: names, text: text, define: func(fs *flag.FlagSet, n string) { fs.BoolVar(p, n, false, "") }}
}

func text(p *string, words string, names ...string) option {
	return option{names: names, text: words, value: "value", define: func(fs *flag.FlagSet, n string) { fs.StringVar(p, n, "", "") }}
}

func number(p *uint64, words string, names ...string) option {
	return option{names: names, text: words, value: "value", standard: "0", define: func(fs *flag.FlagSet, n string) { fs.Uint64Var(p, n, 0, "") }}
}

func duration(p *time.Duration, standard time.Duration, words string, names ...string) option {
	return option{names: names, text: words, value: "value", standard: standard.String(),
		define: func(fs *flag.FlagSet, n string) { fs.DurationVar(p, n, standard, "") }}
}

// list is an option that may be given several times, each time with one or more words between commas.
func list(p *[]string, words string, names ...string) option {
	return option{names: names, text: words, value: "value", define: func(fs *flag.FlagSet, n string) {
		fs.Func(n, "", func(s string) error {
			for _, word := range strings.Split(s, ",") {
				if word = strings.TrimSpace(word); word != "" {
					*p = append(*p, word)
				}
			}
			return nil
		})
	}}
}

// parse reads options in Go's syntax from the beginning of words, and returns the words behind them.
func parse(options []option, words []string) ([]string, error) {
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	for _, o := range options {
		for _, n := range o.names {
			o.define(fs, n)
		}
	}
	if err := fs.Parse(words); err != nil {
		return nil, err
	}
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for _, o := range options {
		if len(o.names) == 2 && given[o.names[0]] && given[o.names[1]] {
			return nil, fmt.Errorf("Cannot use two forms of the same flag: %s %s", o.names[1], o.names[0]) //lint:ignore ST1005 the sentence that users know
		}
	}
	return fs.Args(), nil
}

// arguments reads the options and arguments of a command (G-13 to G-15). Options may stand behind arguments; behind an
// option and its value the first word that is none ends them, as does "--". The order of arguments is that of the words.
func arguments(options []option, words []string) ([]string, error) {
	var rest []string
	for i, w := range words {
		if w == "--" {
			words, rest = words[:i], words[i+1:]
			break
		}
	}
	first := len(words)
	for i, w := range words {
		if strings.HasPrefix(w, "-") && w != "-" {
			first = i
			break
		}
	}
	behind, err := parse(options, words[first:])
	if err != nil {
		return nil, err
	}
	return append(append(append([]string(nil), words[:first]...), behind...), rest...), nil
}

package ctl2

import (
	"fmt"
	"strings"
)

func noTopic(name string) error {
	f := refuse("No help topic for '%s'", name).(*failure)
	f.code = exitUnknownCommand
	return f
}

// usage shows help for words that cannot be read, and says why they cannot.
func (a *app) usage(c *command, err error) error {
	a.say("Incorrect Usage.\n")
	if err := a.help(c); err != nil {
		return err
	}
	return refused(err)
}

// helpOn shows the help of what words name, below a group.
func (a *app) helpOn(g *command, words []string) error {
	for _, w := range words {
		if w == "help" || w == "h" {
			a.say("NAME:\n   etcdctl help - %s\n\nUSAGE:\n   etcdctl help [command]", helpShort)
			return nil
		}
		c := g.find(w)
		if c == nil {
			return noTopic(w)
		}
		if g = c; len(g.subs) == 0 {
			break
		}
	}
	return a.help(g)
}

const helpShort = "Shows a list of commands or help for one command"

// help shows what a command is and takes.
func (a *app) help(c *command) error {
	var b strings.Builder
	switch {
	case c.name == "":
		fmt.Fprintf(&b, "NAME:\n   etcdctl - A simple command line client for etcd.\n\n")
		fmt.Fprintf(&b, "USAGE:\n   etcdctl [global options] command [command options] [arguments...]\n\n")
		fmt.Fprintf(&b, "VERSION:\n   %s\n\n", a.Version)
		b.WriteString("COMMANDS:\n")
		table(&b, 5, append(c.rows(), [2]string{"help, h", helpShort}))
		b.WriteString("\nGLOBAL OPTIONS:\n")
		table(&b, 3, append(rows(c.options), [2]string{"--help, -h", "show help"}, [2]string{"--version, -v", "print the version"}))
	case len(c.subs) > 0:
		fmt.Fprintf(&b, "NAME:\n   %s - %s\n\n", c.path, c.short)
		fmt.Fprintf(&b, "USAGE:\n   %s command [command options] [arguments...]\n\n", c.path)
		b.WriteString("COMMANDS:\n")
		table(&b, 5, c.rows())
		b.WriteString("\nOPTIONS:\n")
		table(&b, 3, [][2]string{{"--help, -h", "show help"}})
	default:
		fmt.Fprintf(&b, "NAME:\n   %s - %s\n\nUSAGE:\n   %s", c.path, c.short, c.path)
		if len(c.options) > 0 {
			b.WriteString(" [command options]")
		}
		if c.args != "" {
			b.WriteString(" " + c.args)
		}
		b.WriteString("\n")
		if c.long != "" {
			fmt.Fprintf(&b, "\nDESCRIPTION:\n%s\n", c.long)
		}
		if len(c.options) > 0 {
			b.WriteString("\nOPTIONS:\n")
			table(&b, 3, rows(c.options))
		}
	}
	_, err := fmt.Fprint(a.Stdout, b.String())
	return err
}

func (c *command) rows() (out [][2]string) {
	for _, s := range c.subs {
		out = append(out, [2]string{s.name, s.short})
	}
	return out
}

func rows(options []option) (out [][2]string) {
	for _, o := range options {
		if o.hidden {
			continue
		}
		var names []string
		for _, n := range o.names {
			dash := "--"
			if len(n) == 1 {
				dash = "-"
			}
			if o.value != "" {
				n += " " + o.value
			}
			names = append(names, dash+n)
		}
		words := o.text
		if o.standard != "" {
			words += " (default: " + o.standard + ")"
		}
		out = append(out, [2]string{strings.Join(names, ", "), words})
	}
	return out
}

// table writes two columns with two blanks between them.
func table(b *strings.Builder, indent int, rows [][2]string) {
	width := 0
	for _, r := range rows {
		width = max(width, len(r[0]))
	}
	for _, r := range rows {
		fmt.Fprintf(b, "%*s%-*s  %s\n", indent, "", width, r[0], r[1])
	}
}

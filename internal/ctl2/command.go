package ctl2

import (
	"slices"
)

// command is a command, or a group of them.
type command struct {
	name    string
	path    string // with the groups that it is in
	short   string
	long    string
	args    string // as help shows them
	options []option
	subs    []*command
	run     func(args []string) error
}

func group(name, short string, subs ...*command) *command {
	for _, s := range subs {
		s.path = "etcdctl " + name + " " + s.name
	}
	return &command{name: name, short: short, subs: subs}
}

func (c *command) find(name string) *command {
	i := slices.IndexFunc(c.subs, func(s *command) bool { return s.name == name })
	if i < 0 {
		return nil
	}
	return c.subs[i]
}

// rootCommand has the commands in the order of the help.
func (a *app) rootCommand() *command {
	root := &command{path: "etcdctl", options: a.g.options(), subs: []*command{
		a.backupCommand(),
		a.healthCommand(),
		a.mkCommand(),
		a.mkdirCommand(),
		a.rmCommand(),
		a.rmdirCommand(),
		a.getCommand(),
		a.lsCommand(),
		a.setCommand(),
		a.setdirCommand(),
		a.updateCommand(),
		a.updatedirCommand(),
		a.watchCommand(),
		a.execWatchCommand(),
		group("member", "member add, remove and list subcommands",
			a.memberListCommand(), a.memberAddCommand(), a.memberRemoveCommand(), a.memberUpdateCommand()),
		group("user", "user add, grant and revoke subcommands",
			a.userAddCommand(), a.userGetCommand(), a.userListCommand(), a.userRemoveCommand(),
			a.userGrantCommand(), a.userRevokeCommand(), a.userPasswdCommand()),
		group("role", "role add, grant and revoke subcommands",
			a.roleAddCommand(), a.roleGetCommand(), a.roleListCommand(), a.roleRemoveCommand(),
			a.roleChangeCommand("grant"), a.roleChangeCommand("revoke")),
		group("auth", "overall auth controls", a.authCommand("enable"), a.authCommand("disable")),
	}}
	for _, c := range root.subs {
		c.path = "etcdctl " + c.name
	}
	return root
}

// dispatch finds the command in words and runs it.
func (a *app) dispatch(root *command, words []string) error {
	var help, version bool
	rest, err := parse(append(root.options, toggle(&help, "", "help", "h"), toggle(&version, "", "version", "v")), words)
	switch {
	case err != nil:
		return a.usage(root, err)
	case help:
		return a.help(root)
	case version:
		a.say("etcdctl version: %s\nAPI version: 2", a.Version)
		return nil
	}
	return a.choose(root, rest)
}

// choose runs the command of a group that words begin with.
func (a *app) choose(g *command, words []string) error {
	if len(words) == 0 || words[0] == "" {
		return a.help(g)
	}
	name, words := words[0], words[1:]
	if name == "help" || name == "h" {
		return a.helpOn(g, words)
	}
	c := g.find(name)
	if c == nil {
		return noTopic(name)
	}
	var help bool
	asks := toggle(&help, "", "help", "h")
	if len(c.subs) > 0 {
		rest, err := parse([]option{asks}, words)
		if err != nil {
			return a.usage(c, err)
		}
		if help {
			return a.help(c)
		}
		return a.choose(c, rest)
	}
	args, err := arguments(append(slices.Clone(c.options), asks), words)
	if err != nil {
		return a.usage(c, err)
	}
	if help {
		return a.help(c)
	}
	if err := a.g.check(); err != nil {
		return err
	}
	return c.run(args)
}

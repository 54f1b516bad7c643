package ctl

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// The groups of the help text, in their order.
const (
	groupKV          = "kv"
	groupMaintenance = "maintenance"
	groupConcurrency = "concurrency"
	groupAuth        = "auth"
	groupUtility     = "utility"
)

// Prefixes select commands on every level, and help keeps its order. cobra has
// both as variables of the package.
func init() {
	cobra.EnablePrefixMatching = true
	cobra.EnableCommandSorting = false
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "etcdctl",
		Short:         "A simple command line client for etcd3.",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          unknownCommand,
		RunE:          showHelp,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(badFlag)
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { fmt.Fprint(a.Stdout, helpText(cmd)) })
	root.AddGroup(
		&cobra.Group{ID: groupKV, Title: "Key-value commands:"},
		&cobra.Group{ID: groupMaintenance, Title: "Cluster maintenance commands:"},
		&cobra.Group{ID: groupConcurrency, Title: "Concurrency commands:"},
		&cobra.Group{ID: groupAuth, Title: "Authentication commands:"},
		&cobra.Group{ID: groupUtility, Title: "Utility commands:"},
	)
	root.SetHelpCommandGroupID(groupUtility)
	a.addGlobalFlags(root)
	for _, g := range []struct {
		id   string
		cmds []*cobra.Command
	}{
		{groupKV, []*cobra.Command{a.getCommand(), a.putCommand(), a.delCommand(), a.txnCommand(), a.compactionCommand(), a.watchCommand(), a.leaseCommand()}},
		{groupMaintenance, []*cobra.Command{a.alarmCommand(), a.defragCommand(), a.endpointCommand(), a.moveLeaderCommand(), a.memberCommand(), a.snapshotCommand(), a.downgradeCommand(), a.doctorCommand()}},
		{groupConcurrency, []*cobra.Command{a.lockCommand(), a.electCommand()}},
		{groupAuth, []*cobra.Command{a.authCommand(), a.userCommand(), a.roleCommand(), a.limitCommand()}},
		{groupUtility, []*cobra.Command{a.mirrorCommand(), a.checkCommand(), a.completionCommand(), a.versionCommand(), a.optionsCommand()}},
	} {
		for _, c := range g.cmds {
			c.GroupID = g.id
			root.AddCommand(c)
		}
	}
	return root
}

// group is a command that only holds others.
func group(use, short string, cmds ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{Use: use + " <subcommand>", Short: short, Args: unknownCommand, RunE: showHelp}
	g.AddCommand(cmds...)
	return g
}

func showHelp(cmd *cobra.Command, _ []string) error { return cmd.Help() }

// unknownCommand refuses the word that named no command of a group.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var hint strings.Builder
	cmd.SuggestionsMinimumDistance = 2
	if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
		hint.WriteString("\nDid you mean this?\n")
		for _, s := range similar {
			fmt.Fprintf(&hint, "\t%s\n", s)
		}
		hint.WriteString("\n")
	}
	fmt.Fprintf(&hint, "Run '%s --help' for usage.\n", cmd.CommandPath())
	return &usageError{
		err:  fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath()),
		text: hint.String(),
	}
}

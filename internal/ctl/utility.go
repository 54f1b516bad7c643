package ctl

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Prints the version of etcdctl",
		Args:  cobra.NoArgs,
		Run: func(*cobra.Command, []string) {
			fmt.Fprintln(a.Stdout, "etcdctl version:", Version)
			fmt.Fprintln(a.Stdout, "API version:", APIVersion)
		},
	}
}

func (a *app) optionsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "options",
		Short: "Prints a list of global command-line options (applies to all commands)",
		Run: func(*cobra.Command, []string) {
			shown := pflag.NewFlagSet("options", pflag.ContinueOnError)
			a.root.PersistentFlags().VisitAll(func(fl *pflag.Flag) {
				visible := *fl
				visible.Hidden = false
				shown.AddFlag(&visible)
			})
			fmt.Fprintf(a.Stdout, "The following options can be passed to any command:\n\n%s", shown.FlagUsages())
		},
	}
}

func (a *app) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:                   "completion [bash|zsh|fish|powershell]",
		Short:                 "Generate completion script",
		Long:                  "Writes a completion script for the shell to stdout.\n\n  source <(etcdctl completion bash)",
		DisableFlagsInUseLine: true,
		ValidArgs:             []string{"bash", "zsh", "fish", "powershell"},
		Args:                  cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch args[0] {
			case "bash":
				return a.root.GenBashCompletionV2(a.Stdout, true)
			case "zsh":
				return a.root.GenZshCompletion(a.Stdout)
			case "fish":
				return a.root.GenFishCompletion(a.Stdout, true)
			}
			return a.root.GenPowerShellCompletionWithDesc(a.Stdout)
		},
	}
}

package cairn

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
)

var (
	// ErrHelp is returned by ParseArgs when help was asked for and printed.
	ErrHelp = flag.ErrHelp
	// ErrVersion is returned by ParseArgs when the version is asked for.
	ErrVersion = errors.New("the version was asked for")
)

// UsageError is a command line that cannot be understood.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }

// ParseArgs makes a configuration from flags and ETCD_ variables, or from a file if one is named: then from that alone.
func ParseArgs(args, environ []string, out io.Writer) (Config, error) {
	c := DefaultConfig()
	fs := flag.NewFlagSet("cairn", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	opts := options()
	var refused error // told only if no file takes the flags' place
	for _, o := range opts {
		set := func(v string) error {
			err := c.apply(o, v)
			if r, ok := errors.AsType[refusal](err); ok {
				if refused == nil {
					refused = fmt.Errorf("--%s is %w", o.name, r)
				}
				return nil
			}
			return err
		}
		if o.boolean {
			fs.BoolFunc(o.name, o.help, set)
		} else {
			fs.Func(o.name, o.help, set)
		}
	}
	file := fs.String("config-file", "", "")
	version := fs.Bool("version", false, "")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			printHelp(out, opts)
			return c, ErrHelp
		}
		return c, &UsageError{err}
	}
	if fs.NArg() > 0 {
		return c, fmt.Errorf("%q is not a valid flag", fs.Arg(0))
	}
	if *version {
		return c, ErrVersion
	}
	env := variables(environ)
	if *file == "" {
		*file = env[variable("config-file")]
	}
	if *file != "" {
		return fromFile(*file)
	}
	if refused != nil {
		return c, refused
	}
	return c, c.fromEnvironment(opts, env)
}

// apply sets one option from one of the places where options are.
func (c *Config) apply(o option, v string) error {
	name := o.name
	if o.successor != "" {
		c.note(slog.LevelWarn, "an option has another name now", "given", o.name, "name", o.successor)
		name = o.successor
	}
	c.given[name] = true
	return o.set(c, v)
}

// variables are those that are not empty.
func variables(environ []string) map[string]string {
	env := map[string]string{}
	for _, e := range environ {
		if k, v, ok := strings.Cut(e, "="); ok && v != "" && strings.HasPrefix(k, envPrefix) {
			env[k] = v
		}
	}
	return env
}

const envPrefix = "ETCD_"

func variable(name string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// passed are variables that mean something to etcd, and are no options.
var passed = []string{"ETCD_UNSUPPORTED_ARCH", "ETCD_VERIFY"}

func (c *Config) fromEnvironment(opts []option, env map[string]string) error {
	for _, o := range opts {
		k := variable(o.name)
		v, ok := env[k]
		if !ok {
			continue
		}
		delete(env, k)
		if c.given[o.name] || c.given[o.successor] {
			return fmt.Errorf("conflicting environment variable %q is shadowed by corresponding command-line flag (either unset environment variable or disable flag)", k)
		}
		err := c.apply(o, v)
		if r, ok := errors.AsType[refusal](err); ok {
			return fmt.Errorf("%s is %w", k, r)
		}
		if err != nil {
			return fmt.Errorf("invalid value %q for %s: %w", v, k, err)
		}
	}
	var rest []string
	for k := range env {
		if !slices.Contains(passed, k) {
			rest = append(rest, k)
		}
	}
	slices.Sort(rest)
	for _, k := range rest {
		c.note(slog.LevelWarn, "unrecognized environment variable", "environment-variable", k)
	}
	return nil
}

func printHelp(out io.Writer, opts []option) {
	fmt.Fprint(out, `Usage: cairn [flags]    run a member
       cairn ctl ...      talk to members (etcdctl)
       cairn --version

Flags, each also as a variable (--data-dir as ETCD_DATA_DIR; giving both is an error):
  --config-file
        YAML file to take the options from; flags and variables are then ignored.
`)
	for _, o := range opts {
		if o.successor != "" || o.help == "" {
			continue
		}
		def := ""
		if o.def != "" {
			def = fmt.Sprintf(" (default %q)", o.def)
		}
		fmt.Fprintf(out, "  --%s%s\n        %s\n", o.name, def, o.help)
	}
	fmt.Fprintln(out, "\nThe names with experimental- of etcd 3.5 and 3.6 are taken with a warning.")
}

package cairn

import (
	"errors"
	"net/url"
	"strconv"
	"time"
)

// option is one row of the only list of options: flag, ETCD_ variable and YAML key all come from here.
type option struct {
	name, def, help string
	boolean         bool   // takes no argument as a flag
	nanos           bool   // a duration, which the configuration file gives in nanoseconds
	successor       string // the name that has taken this one's place
	set             func(c *Config, v string) error
}

// refusal is a value that asks for what this server does not do. It is told with the option's name only, because the
// value is not to blame.
type refusal struct{ why string }

func (r refusal) Error() string { return "not supported: " + r.why }

var (
	errNumber   = errors.New("a whole number is expected")
	errBool     = errors.New("true or false is expected")
	errDuration = errors.New("a duration such as 10m or 100ms is expected")
)

func text(name, def, help string, f func(*Config) *string) option {
	return option{name: name, def: def, help: help, set: func(c *Config, v string) error { *f(c) = v; return nil }}
}

// word is a text of which few are known.
func word(name, def, help string, check func(string) error, f func(*Config) *string) option {
	return option{name: name, def: def, help: help, set: func(c *Config, v string) error {
		*f(c) = v
		return check(v)
	}}
}

func boolean(name, def, help string, f func(*Config) *bool) option {
	return option{name: name, def: def, help: help, boolean: true, set: func(c *Config, v string) error {
		b, err := strconv.ParseBool(v)
		if err != nil {
			return errBool
		}
		*f(c) = b
		return nil
	}}
}

// number has a size, as what it is stored in.
func number[T int | int64](name, def, help string, f func(*Config) *T) option {
	return option{name: name, def: def, help: help, set: func(c *Config, v string) error {
		n, err := strconv.ParseInt(v, 0, 64)
		if err != nil || int64(T(n)) != n {
			return errNumber
		}
		*f(c) = T(n)
		return nil
	}}
}

func count(name, def, help string, bits int, f func(*Config, uint64)) option {
	return option{name: name, def: def, help: help, set: func(c *Config, v string) error {
		n, err := strconv.ParseUint(v, 0, bits)
		if err != nil {
			return errors.New("a whole number from 0 to " + strconv.FormatUint(1<<bits-1, 10) + " is expected")
		}
		f(c, n)
		return nil
	}}
}

func millis(name, def, help string, f func(*Config) *time.Duration) option {
	return count(name, def, help, 31, func(c *Config, n uint64) { *f(c) = time.Duration(n) * time.Millisecond })
}

func duration(name, def, help string, f func(*Config) *time.Duration) option {
	return option{name: name, def: def, help: help, nanos: true, set: func(c *Config, v string) error {
		d, err := time.ParseDuration(v)
		if err != nil {
			return errDuration
		}
		*f(c) = d
		return nil
	}}
}

// urls must not be empty, unless that is the default.
func urls(name, def, help string, f func(*Config) *[]url.URL) option {
	return option{name: name, def: def, help: help, set: func(c *Config, v string) (err error) {
		if v == "" && def == "" {
			*f(c) = nil
			return nil
		}
		*f(c), err = parseURLs(v)
		return err
	}}
}

// authority is etcd 2's way to ask for clients' certificates (v2-http.md L-03).
func authority(name string, f func(*Config) *TLSConfig) option {
	return option{name: name, help: "The same as --trusted-ca-file and --client-cert-auth, of clients or of peers.", set: func(c *Config, v string) error {
		if v != "" {
			f(c).TrustedCAFile, f(c).ClientCertAuth = v, true
		}
		return nil
	}}
}

const noEffect = "Accepted for compatibility; has no effect."

// ignored has no meaning here, but its values are checked for their kind.
func ignored(o option) option {
	o.help = noEffect
	return o
}

func ignoredText(name, def string) option {
	return ignored(text(name, def, "", func(*Config) *string { return new(string) }))
}

func ignoredBool(name, def string) option {
	return ignored(boolean(name, def, "", func(*Config) *bool { return new(bool) }))
}

func ignoredNumber(name, def string) option {
	return ignored(number(name, def, "", func(*Config) *int64 { return new(int64) }))
}

func ignoredDuration(name, def string) option {
	return ignored(duration(name, def, "", func(*Config) *time.Duration { return new(time.Duration) }))
}

// refused takes its default and nothing else.
func refused(name, def, why string) option {
	return option{name: name, def: def, help: "Not supported: " + why + ".", set: func(_ *Config, v string) error {
		if v == def || v == "" {
			return nil
		}
		return refusal{why}
	}}
}

func refusedBool(name, why string) option {
	return option{name: name, def: "false", help: "Not supported: " + why + ".", boolean: true, set: func(_ *Config, v string) error {
		on, err := strconv.ParseBool(v)
		switch {
		case err != nil:
			return errBool
		case on:
			return refusal{why}
		}
		return nil
	}}
}

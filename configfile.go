package cairn

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// sections are the keys of a configuration file that hold keys of their own, with the prefix that makes options of
// those (server-config.md section 5).
var sections = map[string]string{
	"client-transport-security": "", "peer-transport-security": "peer-", "socket-options": "socket-", "discovery-config": "discovery-",
}

// spelled are the options that have another name inside a section.
var spelled = map[string]string{
	"allowed-hostname": "client-cert-allowed-hostname", "allowed-cn": "client-cert-allowed-cn", "peer-allowed-cn": "peer-cert-allowed-cn", "peer-allowed-hostname": "peer-cert-allowed-hostname",
	"discovery-username": "discovery-user",
}

// discoveryParts are sections inside that of discovery.
var discoveryParts = []string{"client", "secure", "auth"}

// fromFile takes all options from a file.
func fromFile(name string) (Config, error) {
	c := DefaultConfig()
	b, err := os.ReadFile(name)
	if err != nil {
		return c, err
	}
	var m map[string]any
	if err := yaml.Unmarshal(b, &m); err != nil {
		return c, fmt.Errorf("%s: %w", name, err)
	}
	c.note(slog.LevelInfo, "loaded server configuration, other configuration command line flags and environment variables will be ignored if provided", "path", name)
	known := map[string]option{}
	for _, o := range options() {
		known[o.name] = o
	}
	if err := c.fromKeys(known, "", m); err != nil {
		return c, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

func (c *Config) fromKeys(known map[string]option, prefix string, m map[string]any) error {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		v := m[k]
		inner, ok := sections[k]
		if ok = ok && prefix == ""; !ok && prefix == sections["discovery-config"] && slices.Contains(discoveryParts, k) {
			inner, ok = prefix, true
		}
		if ok {
			sub, isMap := v.(map[string]any)
			if v != nil && !isMap {
				return fmt.Errorf("%s holds keys of its own", k)
			}
			if err := c.fromKeys(known, inner, sub); err != nil {
				return fmt.Errorf("%s: %w", k, err)
			}
			continue
		}
		if err := c.fromKey(known, prefix, k, v); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) fromKey(known map[string]option, prefix, k string, v any) error {
	name := prefix + k
	if s, ok := spelled[name]; ok {
		name = s
	}
	o, ok := known[name]
	if !ok {
		c.note(slog.LevelWarn, "unrecognized key in the configuration file", "key", k)
		return nil
	}
	s, err := plain(v)
	if err != nil {
		if r, ok := errors.AsType[refusal](o.set(c, "keys")); ok {
			err = r
		}
		return fmt.Errorf("%s: %w", k, err)
	}
	if s == "" { // as if it were not there
		return nil
	}
	if o.nanos {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return fmt.Errorf("invalid value %q for %s: a duration is given in nanoseconds", s, k)
		}
		s = time.Duration(n).String()
	}
	err = c.apply(o, s)
	if r, ok := errors.AsType[refusal](err); ok {
		return fmt.Errorf("%s is %w", k, r)
	}
	if err != nil {
		return fmt.Errorf("invalid value %q for %s: %w", s, k, err)
	}
	return nil
}

// plain is a value as a flag would give it.
func plain(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			var err error
			if parts[i], err = plain(v[i]); err != nil {
				return "", err
			}
		}
		return strings.Join(parts, ","), nil
	case map[string]any:
		if len(v) == 0 {
			return "", nil
		}
		return "", errors.New("a single value is expected")
	case float64: // a whole number may be written with an exponent
		if n := int64(v); float64(n) == v {
			return strconv.FormatInt(n, 10), nil
		}
	}
	return fmt.Sprint(v), nil
}

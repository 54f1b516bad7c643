package tree

import "strings"

// Clean makes a node's path of what a client has sent: it begins with a slash, and has neither empty components, dots nor
// a slash at its end. It never leads above the root.
func Clean(p string) string {
	var parts []string
	for _, c := range strings.Split(p, "/") {
		switch c {
		case "", ".":
		case "..":
			if len(parts) > 0 {
				parts = parts[:len(parts)-1]
			}
		default:
			parts = append(parts, c)
		}
	}
	return "/" + strings.Join(parts, "/")
}

// below reports whether p is a node under dir.
func below(p, dir string) bool {
	if dir == "/" {
		return p != "/"
	}
	return len(p) > len(dir) && p[len(dir)] == '/' && p[:len(dir)] == dir
}

// Hidden reports whether a node is hidden from who looks from dir: one of the components below dir begins with an
// underscore.
func Hidden(p, dir string) bool {
	rest := p
	if below(p, dir) {
		rest = p[len(dir):]
		if dir == "/" {
			rest = p
		}
	} else if p == dir {
		return false
	}
	return strings.Contains(rest, "/_")
}

package v2http

import (
	"net/http"
	"net/url"
	"path"
	"strings"
)

// Router finds the page for a path of the v2 API. It looks at the path with its escapes undone, so that %2F divides as a
// slash does, which http.ServeMux has given up. A path that is not clean is sent elsewhere.
type Router struct {
	pages map[string]http.Handler // by path; one that ends with a slash is for everything below
	next  http.Handler
}

// NewRouter makes one without pages. next serves what lies outside of /v2.
func NewRouter(next http.Handler) *Router {
	return &Router{pages: map[string]http.Handler{}, next: next}
}

// Handle adds a page.
func (m *Router) Handle(path string, h http.Handler) { m.pages[path] = h }

func (m *Router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := cleanPath(r.URL.Path)
	if p != "/v2" && !strings.HasPrefix(p, "/v2/") {
		m.next.ServeHTTP(w, r)
		return
	}
	if p != r.URL.Path && r.Method != http.MethodConnect {
		u := url.URL{Path: p, RawQuery: r.URL.RawQuery}
		http.Redirect(w, r, u.String(), http.StatusMovedPermanently)
		return
	}
	m.page(r.URL.Path).ServeHTTP(w, r)
}

func (m *Router) page(p string) http.Handler {
	if h, ok := m.pages[p]; ok {
		return h
	}
	for i := strings.LastIndexByte(p, '/'); i >= 0; i = strings.LastIndexByte(p[:i], '/') {
		if h, ok := m.pages[p[:i+1]]; ok {
			return h
		}
	}
	return http.NotFoundHandler()
}

// cleanPath removes dots and double slashes, and keeps one slash at the end.
func cleanPath(p string) string {
	if !strings.HasPrefix(p, "/") {
		p = "/" + p
	}
	c := path.Clean(p)
	if strings.HasSuffix(p, "/") && c != "/" {
		c += "/"
	}
	return c
}

package cairn

import "net/http"

func (s *Server) handler() (http.Handler, error) { return http.NotFoundHandler(), nil }

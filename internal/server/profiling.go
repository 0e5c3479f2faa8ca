package server

import (
	"net/http"
	"net/http/pprof"
)

// addProfiling serves the profiles of the process under /debug/pprof/ (apiserver/pkg/server/routes/profiling.go). They are for
// those who may read the path, which by default are the administrators, and are not in the index at "/".
func (s *Server) addProfiling(wanted bool) {
	if !wanted {
		return
	}
	s.paths["/debug/pprof"] = http.RedirectHandler("/debug/pprof/", http.StatusFound)
	s.paths["/debug/pprof/"] = http.HandlerFunc(pprof.Index)
	s.paths["/debug/pprof/profile"] = http.HandlerFunc(pprof.Profile)
	s.paths["/debug/pprof/symbol"] = http.HandlerFunc(pprof.Symbol)
	s.paths["/debug/pprof/trace"] = http.HandlerFunc(pprof.Trace)
}

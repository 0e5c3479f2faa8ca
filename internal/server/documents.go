package server

import (
	"net/http"
	"strconv"

	"github.com/kayak-k8s/kayak/internal/authn"
	"github.com/kayak-k8s/kayak/internal/request"
	"github.com/kayak-k8s/kayak/internal/wire"
)

// addDocuments serves documents that are served as they are (kubernetes/pkg/routes/openidmetadata.go).
func (s *Server) addDocuments(documents map[string]authn.Document) {
	for path, document := range documents {
		s.paths[path] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet {
				wire.WriteError(w, r, request.MethodNotAllowed())
				return
			}
			if err := wire.CheckAccept(r, document.MediaType); err != nil {
				wire.WriteError(w, r, err)
				return
			}
			data, age := document.Get()
			w.Header().Set("Content-Type", document.MediaType)
			w.Header().Set("Cache-Control", "public, max-age="+strconv.Itoa(age))
			_, _ = w.Write(data)
		})
	}
}

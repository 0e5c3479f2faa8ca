package server

import (
	"io/fs"
	"net/http"
	"os"
	"strings"

	"github.com/kayak-k8s/kayak/internal/request"
)

// maxLogPath is the longest path of a log file, in bytes: more than any file system takes.
const maxLogPath = 4096

// addLogs serves the files of a directory, and below it, at /logs/ (kubernetes/pkg/routes/logs.go, which serves /var/log).
// Neither ".." nor a symbolic link leads out of it: os.Root does not follow them. Nothing but directories and regular files is
// opened: a pipe would block.
func (s *Server) addLogs(root *os.Root) {
	if root == nil {
		return
	}
	files := http.StripPrefix("/logs", http.FileServerFS(regularFiles{root.FS()}))
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method != http.MethodGet:
			http.Error(w, request.MethodNotAllowed().Error(), http.StatusMethodNotAllowed)
		case len(r.URL.Path) > maxLogPath, hasDots(r.URL.Path):
			http.Error(w, "file not found", http.StatusNotFound)
		case r.URL.Path == "/logs":
			http.Redirect(w, r, "/logs/", http.StatusMovedPermanently) // so that the links of the listing are right
		default:
			files.ServeHTTP(w, r)
		}
	})
	s.paths["/logs"], s.paths["/logs/"] = handler, handler
}

func hasDots(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == ".." {
			return true
		}
	}
	return false
}

// regularFiles hides everything else that a directory may hold.
type regularFiles struct{ fs.FS }

func (f regularFiles) Open(name string) (fs.File, error) {
	info, err := fs.Stat(f.FS, name)
	if err != nil || !(info.IsDir() || info.Mode().IsRegular()) {
		// Whatever the reason is, such as a link that leads out, a client learns only that there is nothing to see.
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return f.FS.Open(name)
}

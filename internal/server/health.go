package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sort"
	"strings"
	"sync"
	"time"
)

// Check is one part of the server's health.
type Check struct {
	Name string
	// Run says what is wrong, nil when nothing is. It must be quick and safe for concurrent use.
	Run func(context.Context) error
	// ReadyOnly leaves the check out of /livez and /healthz: what fails it does not call for a restart.
	ReadyOnly bool
}

var errStopping = errors.New("process is shutting down")

// checkTimeout bounds one check.
const checkTimeout = 2 * time.Second

// addHealth serves /healthz, /livez and /readyz, and each check below them (apiserver/pkg/server/healthz).
func (s *Server) addHealth(checks []Check) {
	checks = append([]Check{{Name: "ping", Run: func(context.Context) error { return nil }}}, checks...)
	checks = append(checks, Check{Name: "shutdown", ReadyOnly: true, Run: func(context.Context) error {
		select {
		case <-s.options.Stopping:
			return errStopping
		default:
			return nil
		}
	}})
	for _, name := range []string{"healthz", "livez", "readyz"} {
		var own []Check
		for _, check := range checks {
			if name == "readyz" || !check.ReadyOnly {
				own = append(own, check)
				s.paths["/"+name+"/"+check.Name] = s.singleCheck(check)
			}
		}
		s.paths["/"+name] = s.allChecks(name, own)
	}
}

func (s *Server) singleCheck(check Check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := run(r.Context(), check); err != nil {
			http.Error(w, fmt.Sprintf("internal server error: %v", err), http.StatusInternalServerError)
			return
		}
		plainText(w)
		fmt.Fprint(w, "ok")
	})
}

func run(ctx context.Context, check Check) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	return check.Run(ctx)
}

// runAll runs the checks side by side, so that several that wait for the same thing do not wait one after another.
func runAll(ctx context.Context, checks []Check, excluded map[string]bool) []error {
	results := make([]error, len(checks))
	var wg sync.WaitGroup
	for i, check := range checks {
		if !excluded[check.Name] {
			wg.Go(func() { results[i] = run(ctx, check) })
		}
	}
	wg.Wait()
	return results
}

func plainText(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
}

// allChecks runs the checks that the query does not exclude. Why one failed is in the log: the path is public.
func (s *Server) allChecks(name string, checks []Check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		excluded := map[string]bool{}
		for _, one := range r.URL.Query()["exclude"] {
			excluded[one] = true
		}
		var report strings.Builder
		failed := false
		results := runAll(r.Context(), checks, excluded)
		for i, check := range checks {
			if excluded[check.Name] {
				delete(excluded, check.Name)
				fmt.Fprintf(&report, "[+]%s excluded: ok\n", check.Name)
				continue
			}
			if err := results[i]; err != nil {
				s.log.Info("health check failed", "path", name, "check", check.Name, "error", err)
				fmt.Fprintf(&report, "[-]%s failed: reason withheld\n", check.Name)
				failed = true
				continue
			}
			fmt.Fprintf(&report, "[+]%s ok\n", check.Name)
		}
		if len(excluded) > 0 {
			fmt.Fprintf(&report, "warn: some health checks cannot be excluded: no matches for %s\n", quoted(excluded))
		}
		if failed {
			http.Error(w, fmt.Sprintf("%s%s check failed", report.String(), name), http.StatusInternalServerError)
			return
		}
		plainText(w)
		if _, verbose := r.URL.Query()["verbose"]; !verbose {
			fmt.Fprint(w, "ok")
			return
		}
		fmt.Fprintf(w, "%s%s check passed\n", report.String(), name)
	})
}

func quoted(names map[string]bool) string {
	var list []string
	for name := range names {
		list = append(list, fmt.Sprintf("%q", name))
	}
	sort.Strings(list)
	return strings.Join(list, ",")
}

package loopback_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/kayak-k8s/kayak/internal/loopback"
)

func do(t *testing.T, ctx context.Context, handler http.HandlerFunc) (*http.Response, error) {
	t.Helper()
	client := &http.Client{Transport: &loopback.Transport{Handler: handler, User: &user.DefaultInfo{Name: "jane"}}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+loopback.Host+"/a?b=c", strings.NewReader("sent"))
	if err != nil {
		t.Fatal(err)
	}
	return client.Do(request)
}

func TestRequestAndResponse(t *testing.T) {
	t.Parallel()
	response, err := do(t, t.Context(), func(w http.ResponseWriter, r *http.Request) {
		u, _ := loopback.User(r.Context())
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-User", u.GetName())
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, r.Method+" "+r.RequestURI+" "+string(body))
	})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || string(body) != "POST /a?b=c sent" || response.StatusCode != http.StatusTeapot || response.Header.Get("X-User") != "jane" {
		t.Errorf("got %d %q %v, error %v", response.StatusCode, body, response.Header, err)
	}
}

func TestNobodyElseIsAUser(t *testing.T) {
	t.Parallel()
	if u, ok := loopback.User(t.Context()); ok {
		t.Errorf("a context without a user has %v", u)
	}
}

func TestNothingWrittenIsOK(t *testing.T) {
	t.Parallel()
	response, err := do(t, t.Context(), func(http.ResponseWriter, *http.Request) {})
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("got %v, error %v", response, err)
	}
	if body, err := io.ReadAll(response.Body); err != nil || len(body) != 0 {
		t.Errorf("body %q, error %v", body, err)
	}
	_ = response.Body.Close()
}

// A stream is read while it is written, and its end reaches the handler.
func TestStreamEndsWithItsReader(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	response, err := do(t, t.Context(), func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		_, _ = io.WriteString(w, "one\n")
		<-r.Context().Done()
		_, err := io.WriteString(w, "two\n")
		ended <- err
	})
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(response.Body).ReadString('\n'); err != nil || line != "one\n" {
		t.Errorf("read %q, error %v", line, err)
	}
	_ = response.Body.Close()
	if err := <-ended; err == nil {
		t.Error("writing to a reader who has gone succeeded")
	}
}

func TestBrokenOff(t *testing.T) {
	t.Parallel()
	response, err := do(t, t.Context(), func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		panic(http.ErrAbortHandler)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); !errors.Is(err, io.ErrUnexpectedEOF) || string(body) != "half" {
		t.Errorf("read %q, error %v", body, err)
	}
}

func TestContextEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	_, err := do(t, ctx, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

package h2_test

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"
)

// TestSpecification runs h2spec, which asks a server for every rule of RFC 7540 and 7541.
func TestSpecification(t *testing.T) {
	t.Parallel()
	address, _, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "here")
	}))
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	options := &config.Config{
		Host: host, Port: number, Path: "/", Timeout: 3 * time.Second, MaxHeaderLen: 60_000, TLS: true, Insecure: true, Strict: true,
	}
	passed := 0
	for _, group := range []*spec.TestGroup{generic.Spec(), http2.Spec(), hpack.Spec()} {
		group.Test(options)
		passed += group.PassedCount
		report(t, group)
	}
	if passed < 100 {
		t.Errorf("only %d passed", passed)
	}
}

func report(t *testing.T, group *spec.TestGroup) {
	for _, test := range group.Tests {
		if test.Result != nil && test.Result.Failed {
			t.Errorf("%s %s: %s: %v", group.ID(), group.Title(), test.Desc, test.Result.Error)
		}
	}
	for _, sub := range group.Groups {
		report(t, sub)
	}
}

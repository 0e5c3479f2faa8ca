package difftest

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/rest"

	"github.com/kayak-k8s/kayak"
)

var recordAudit = flag.String("record-audit", "", "audit log of the kube-apiserver that -record names")

const auditPolicy = "testdata/audit/policy.yaml"

// TestAudit: the audit log says of a request what kube-apiserver's says. The files in testdata/audit have the form of the corpus; in
// the place of answers they have the events of each request, found by its Audit-ID.
//
// To record them again, start a kube-apiserver with --authorization-mode=RBAC, --disable-admission-plugins=ServiceAccount,
// --audit-policy-file=testdata/audit/policy.yaml and --audit-log-path=FILE, and add -record-audit FILE to what the corpus is
// recorded with.
func TestAudit(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/audit/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatal("there is no corpus", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			f, err := parseFile(string(text))
			if err != nil {
				t.Fatal(err)
			}
			if *record != "" {
				if *recordAudit == "" {
					t.Skip("its audit log is not known")
				}
				f.recordAudit(t)
				write(t, path, f)
				return
			}
			t.Parallel()
			for i, got := range f.auditedByKayak(t) {
				x := f.exchanges[i]
				want := x.answer
				if x.differs != "" {
					want = x.kayak
				}
				switch {
				case x.differs != "" && got == x.answer:
					t.Errorf("%s: kayak no longer differs", x.name)
				case x.differs != "" && *accept:
					x.kayak = got
				case got != want:
					t.Errorf("%s (- kube-apiserver, + kayak)\n%s %s\n%s", x.name, x.method, x.path,
						cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")))
				}
			}
			if *accept {
				write(t, path, f)
			}
		})
	}
}

// auditedByKayak sends the requests to kayak, and returns what its log says of each.
func (f *file) auditedByKayak(t *testing.T) []string {
	t.Helper()
	log := filepath.Join(t.TempDir(), "audit.log")
	server, err := kayak.New(kayak.Config{
		Controllers: []string{}, Admission: kayak.AdmissionConfig{Disable: []string{"ServiceAccount"}},
		Audit: kayak.AuditConfig{PolicyFile: auditPolicy, Log: kayak.AuditLogConfig{Path: log}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return server.Stop(ctx)
	}
	t.Cleanup(func() { _ = stop() })
	m, ids := f.sendAudited(t, server.RESTConfig())
	if err := stop(); err != nil { // after which everything is in the log
		t.Fatal(err)
	}
	return m.events(t, log, ids)
}

func (f *file) recordAudit(t *testing.T) {
	t.Helper()
	config := &rest.Config{Host: *record, TLSClientConfig: rest.TLSClientConfig{CAFile: *caFile, CertFile: *cert, KeyFile: *key}}
	m, ids := f.sendAudited(t, config)
	time.Sleep(2 * time.Second) // until everything is in the log
	for i, events := range m.events(t, *recordAudit, ids) {
		f.exchanges[i].answer = events
	}
}

// sendAudited sends the requests, and returns the ids that they have in the log.
func (f *file) sendAudited(t *testing.T, config *rest.Config) (*masker, []string) {
	t.Helper()
	config = rest.CopyConfig(config)
	config.DisableCompression, config.QPS = true, -1
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	anonymous, err := rest.TransportFor(rest.AnonymousClientConfig(config))
	if err != nil {
		t.Fatal(err)
	}
	m := newMasker(f, "d-"+randomLetters())
	ids := make([]string, len(f.exchanges))
	for i, x := range f.exchanges {
		client := &http.Client{Transport: transport}
		ids[i] = fmt.Sprintf("%s-%d", m.vars["ns"], i)
		for _, header := range x.headers {
			switch header[0] {
			case "Authorization":
				client.Transport = anonymous
			case "Audit-ID":
				ids[i] += header[1]
			}
		}
		sent := *x
		sent.headers = append(x.headers[:len(x.headers):len(x.headers)], [2]string{"Audit-ID", ids[i]})
		if _, err := m.send(t.Context(), client, config.Host, &sent); err != nil {
			t.Fatalf("%s: %v", x.name, err)
		}
	}
	return m, ids
}

// events reads what a log says of the requests with these ids.
func (m *masker) events(t *testing.T, log string, ids []string) []string {
	t.Helper()
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	byID := map[string][]byte{}
	for line := range bytes.Lines(text) {
		var event auditv1.Event
		if err := json.Unmarshal(line, &event); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		line = latencyPattern.ReplaceAll(line, nil) // what was slow is of no interest here
		byID[string(event.AuditID)] = append(byID[string(event.AuditID)], line...)
	}
	var events []string
	for _, id := range ids {
		if len(byID[id]) == 0 {
			events = append(events, "nothing\n")
			continue
		}
		shown, _, _ := m.json(byID[id])
		shown = credentialPattern.ReplaceAllString(shown, "X509SHA256=<certificate>")
		events = append(events, trim(addressPattern.ReplaceAllString(shown, `"serverAddress": "<address>"`)))
	}
	return events
}

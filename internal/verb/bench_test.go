package verb_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kayak-k8s/kayak/internal/managedfields"
	"github.com/kayak-k8s/kayak/internal/state"
)

// discard is a client that takes everything in no time.
type discard struct {
	header http.Header
	bytes  int64
}

func (d *discard) Header() http.Header { return d.header }
func (d *discard) WriteHeader(int)     {}
func (d *discard) Write(b []byte) (int, error) {
	d.bytes += int64(len(b))
	return len(b), nil
}

// BenchmarkList lists 10,000 pods of about 7 KB of JSON, all of which are kept encoded, without a network.
func BenchmarkList(b *testing.B) {
	f := newFixture(b, nil, func(o *state.Options) { o.EncodingBytes = 256 << 20 })
	f.putPods(b, 10_000, 6000)
	for _, bench := range []struct {
		name, path, accept string
		compressed         bool
	}{
		{"json", "/api/v1/pods", acceptJSON, false},
		{"gzip", "/api/v1/pods", acceptJSON, true},
		{"protobuf", "/api/v1/pods", acceptProtobuf, false},
		{"metadata", "/api/v1/pods", metadataProto, false},
		{"table", "/api/v1/pods", acceptTable, false},
		{"selector", "/api/v1/pods?labelSelector=app%3Dapp-7", acceptJSON, false},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			list := func() {
				r := httptest.NewRequestWithContext(b.Context(), "GET", bench.path, nil)
				r.Header.Set("Accept", bench.accept)
				if bench.compressed {
					r.Header.Set("Accept-Encoding", "gzip")
				}
				w := &discard{header: http.Header{}}
				f.serve(w, r)
				b.SetBytes(w.bytes)
			}
			list() // what is kept is there from now on
			for b.Loop() {
				list()
			}
		})
	}
}

// benchmarkPod is a pod of about 3 KB when it is stored, with two containers, as bench has it.
func benchmarkPod(name string) string {
	const container = `{"name":%q,"image":"registry.example.com/team/app:v1.2.3","args":["--config=/etc/app/config.yaml","--listen=:8080"],` +
		`"env":[{"name":"NODE_NAME","valueFrom":{"fieldRef":{"fieldPath":"spec.nodeName"}}},{"name":"SETTING_0","value":"value of the setting"},` +
		`{"name":"SETTING_1","value":"value of the setting"}],"ports":[{"name":"http","containerPort":8080},{"name":"metrics","containerPort":9090}],` +
		`"resources":{"requests":{"cpu":"100m","memory":"128Mi"},"limits":{"memory":"256Mi"}},` +
		`"livenessProbe":{"httpGet":{"path":"/healthz","port":8080},"periodSeconds":10},` +
		`"readinessProbe":{"httpGet":{"path":"/healthz","port":8080},"periodSeconds":10},` +
		`"volumeMounts":[{"name":"config","mountPath":"/etc/app"},{"name":"cache","mountPath":"/var/cache"}],"imagePullPolicy":"IfNotPresent"}`
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":%q,"labels":{"app":"bench","pod-template-hash":"5d59d67564"}},`+
		`"spec":{"automountServiceAccountToken":false,"containers":[`+container+`,`+container+`],`+
		`"volumes":[{"name":"config","configMap":{"name":"config"}},{"name":"cache","emptyDir":{}}]}}`, name, "one", "two")
}

// BenchmarkWrite writes objects into a store in memory: what a write costs besides the connection, the pipeline, admission and etcd.
func BenchmarkWrite(b *testing.B) {
	f := newFixture(b, nil)
	f.Fields = managedfields.New()
	const (
		pods, configMaps = "/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/configmaps"
		// existing is how many objects are changed in turn, so that the state has seen the last change of each.
		existing         = 100
		strategic, merge = "application/strategic-merge-patch+json", "application/merge-patch+json"
	)
	n := 0
	write := func(method, path, contentType, body string) {
		r := httptest.NewRequestWithContext(b.Context(), method, path, strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Accept", acceptJSON)
		w := httptest.NewRecorder()
		if f.serve(w, r); w.Code >= 300 {
			b.Fatal(w.Code, w.Body)
		}
	}
	configMap := func(name, how string) string {
		return fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q,"labels":{"app":"bench"}},`+
			`"data":{"how":%q,"config.yaml":"listen: :8080\nlog:\n  level: info\n  format: json\nworkers: 16\n"}}`, name, how)
	}
	for i := range existing {
		write("POST", pods, acceptJSON, benchmarkPod(fmt.Sprint(i)))
		write("POST", configMaps, acceptJSON, configMap(fmt.Sprint(i), ""))
	}
	f.catchUp(b)
	for _, bench := range []struct {
		name  string
		write func(i int)
	}{
		{"create/pod", func(i int) { write("POST", pods, acceptJSON, benchmarkPod(fmt.Sprintf("pod-%d", i))) }},
		{"create/configmap", func(i int) { write("POST", configMaps, acceptJSON, configMap(fmt.Sprintf("config-%d", i), "created")) }},
		{"update/configmap", func(i int) {
			write("PUT", configMaps+"/"+fmt.Sprint(i%existing), acceptJSON, configMap(fmt.Sprint(i%existing), fmt.Sprint(i)))
		}},
		{"patch/pod-status", func(i int) {
			write("PATCH", pods+"/"+fmt.Sprint(i%existing)+"/status", strategic, fmt.Sprintf(`{"status":{"phase":"Running","podIP":"10.1.2.3","hostIP":"10.0.0.1",`+
				`"conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z","message":"%d"}],`+
				`"containerStatuses":[{"name":"one","ready":true,"restartCount":0,"image":"registry.example.com/team/one:v1.2.3",`+
				`"imageID":"sha256:0123456789abcdef","state":{"running":{"startedAt":"2026-01-01T00:00:00Z"}}}]}}`, i))
		}},
		{"patch/configmap", func(i int) {
			write("PATCH", configMaps+"/"+fmt.Sprint(i%existing), merge, fmt.Sprintf(`{"data":{"how":"%d"}}`, i))
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				n++
				bench.write(n)
			}
		})
	}
}

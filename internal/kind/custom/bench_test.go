package custom_test

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/kayak-k8s/kayak"
)

// many makes a definition for each number out of one real one: another group, the same schema.
func many(t testing.TB, name string) func(i int) string {
	text := realDefinition(t, name)
	group := regexp.MustCompile(`(?m)^  group: (\S+)$`).FindStringSubmatch(text)[1]
	return func(i int) string { return strings.ReplaceAll(text, group, fmt.Sprintf("g%d.%s", i, "example.com")) }
}

// list reads n definitions.
func list(t testing.TB, n int, text func(int) string) []*apiextensionsv1.CustomResourceDefinition {
	var crds []*apiextensionsv1.CustomResourceDefinition
	for i := range n {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict([]byte(text(i)), crd); err != nil {
			t.Fatal(err)
		}
		crds = append(crds, crd)
	}
	return crds
}

// processorTime is what this process has used of it: the clients' and the server's.
func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkDefinitions establishes 500 definitions of realistic size in a server with a data directory, and starts it again:
//
//	go test -run '^$' -bench Definitions -benchtime 1x ./internal/kind/custom
//
// It reports how long both take, how much of the processors the first takes, clients included, and what one definition holds in memory, at rest, after a restart.
func BenchmarkDefinitions(b *testing.B) {
	const n = 500
	for _, name := range []string{"cert-manager-certificates", "prometheus-operator-servicemonitors", "cluster-api-clusters"} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				dir := must(os.MkdirTemp("", "kayak"))(b)
				defer os.RemoveAll(dir)
				make := many(b, name)
				first := start(b, kayak.Config{DataDir: dir})
				definitions := first.definitions.ApiextensionsV1().CustomResourceDefinitions()
				crds := list(b, n, make)
				began, used := time.Now(), processorTime()
				for _, crd := range crds {
					if created, err := definitions.Create(b.Context(), crd, metav1.CreateOptions{}); err != nil || !conditionTrue(created, apiextensionsv1.Established) {
						b.Fatal(created, err)
					}
				}
				b.ReportMetric(time.Since(began).Seconds(), "s-to-establish")
				b.ReportMetric((processorTime() - used).Seconds(), "cpu-s-to-establish")
				if err := first.Stop(b.Context()); err != nil {
					b.Fatal(err)
				}
				empty := start(b, kayak.Config{})
				before := heap()
				began = time.Now()
				second := start(b, kayak.Config{DataDir: dir})
				groups := must(second.discovery.ServerGroups())(b)
				b.ReportMetric(time.Since(began).Seconds(), "s-to-restart")
				if len(groups.Groups) < n {
					b.Fatalf("%d groups are served", len(groups.Groups))
				}
				b.ReportMetric(float64(heap()-before)/n/1024, "KB/definition")
				runtime.KeepAlive(empty)
			}
		})
	}
}

// BenchmarkCreate compares the creation of a custom resource with that of a ConfigMap.
func BenchmarkCreate(b *testing.B) {
	c := start(b, kayak.Config{})
	c.define(b, widgets)
	c.define(b, simpleDefinition("example.com", "plains", "Plain", "Namespaced"))
	for _, test := range []struct {
		name, text string
		resource   schema.GroupVersionResource
	}{
		{"ConfigMap", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {color: red, a: b, c: d}", schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}},
		{"WithoutSchema", "apiVersion: example.com/v1\nkind: Plain\nmetadata: {name: %s}\nspec: {color: red, a: b, c: d}", schemaOf("plains")},
		{"Widget", "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: %s}\nspec: {color: red, replicas: 3, parts: [{name: a, size: 1}]}", widgetResource},
	} {
		b.Run(test.name, func(b *testing.B) {
			r := c.dynamic.Resource(test.resource).Namespace("default")
			i, used := 0, processorTime()
			for b.Loop() {
				i++
				u := object(b, test.text, fmt.Sprintf("%s-%d-%d", strings.ToLower(test.name), b.N, i))
				if _, err := r.Create(b.Context(), u, metav1.CreateOptions{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(processorTime()-used)/float64(b.N)/1e6, "cpu-ms/op")
		})
	}
}

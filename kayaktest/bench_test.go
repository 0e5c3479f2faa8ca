package kayaktest_test

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kayak-k8s/kayak/kayaktest"
)

// BenchmarkStart is a start, a request and the end, of the servers after the first.
func BenchmarkStart(b *testing.B) {
	for name, opts := range map[string][]kayaktest.Option{"socket": nil, "memory": {kayaktest.InMemory()}} {
		b.Run(name, func(b *testing.B) { startAndStop(b, opts...) })
	}
}

func startAndStop(b *testing.B, opts ...kayaktest.Option) {
	var start, request, stop time.Duration
	used := cpu(b)
	for b.Loop() {
		began := time.Now()
		s := kayaktest.New(&brief{TB: b}, opts...)
		start += time.Since(began)
		began = time.Now()
		whoAmI(b, s.Config())
		request += time.Since(began)
		began = time.Now()
		s.Stop()
		stop += time.Since(began)
	}
	used = cpu(b) - used
	for unit, d := range map[string]time.Duration{"start-ms": start, "request-ms": request, "stop-ms": stop, "cpu-ms": used} {
		b.ReportMetric(float64(d.Microseconds())/1000/float64(b.N), unit)
	}
}

// brief is a test that lasts no longer than one server: what it would still hold on to at its end, a benchmark would pile up.
type brief struct{ testing.TB }

func (*brief) Cleanup(func()) {} // the benchmark stops its servers itself

// cpu is the time that the process has computed so far.
func cpu(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkFirstStart is the start of the first server of a process: run it with -benchtime 1x.
func BenchmarkFirstStart(b *testing.B) {
	for b.Loop() {
		kayaktest.New(b).Stop()
	}
}

// BenchmarkSnapshotStart is the start of a server from a snapshot that holds 50 CustomResourceDefinitions.
func BenchmarkSnapshotStart(b *testing.B) {
	first := kayaktest.New(b)
	client, err := crdclient.NewForConfig(first.Config())
	if err != nil {
		b.Fatal(err)
	}
	for i := range 50 {
		plural := fmt.Sprintf("things%d", i)
		crd := &apiextensionsv1.CustomResourceDefinition{
			ObjectMeta: metav1.ObjectMeta{Name: plural + ".example.com"},
			Spec: apiextensionsv1.CustomResourceDefinitionSpec{
				Group: "example.com", Scope: apiextensionsv1.NamespaceScoped,
				Names: apiextensionsv1.CustomResourceDefinitionNames{
					Kind: fmt.Sprintf("Thing%d", i), ListKind: fmt.Sprintf("Thing%dList", i), Plural: plural, Singular: fmt.Sprintf("thing%d", i),
				},
				Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
					Name: "v1", Served: true, Storage: true,
					Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object"}},
				}},
			},
		}
		if _, err := client.CustomResourceDefinitions().Create(b.Context(), crd, metav1.CreateOptions{}); err != nil {
			b.Fatal(err)
		}
	}
	snapshot := first.Snapshot()
	first.Stop()
	b.ResetTimer()
	startAndStop(b, kayaktest.FromSnapshot(snapshot))
}

// BenchmarkIdleServers is what a further idle server occupies: its part of the heap and of the stacks, and its goroutines.
func BenchmarkIdleServers(b *testing.B) {
	const servers = 32
	kayaktest.New(b)
	memory := func() float64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc + m.StackInuse)
	}
	for b.Loop() {
		before, goroutines := memory(), runtime.NumGoroutine()
		for range servers {
			kayaktest.New(b)
		}
		b.ReportMetric((memory()-before)/servers/(1<<20), "MB/server")
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/servers, "goroutines/server")
	}
}

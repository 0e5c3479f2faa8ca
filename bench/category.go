package main

import (
	"regexp"
	"strings"

	"github.com/google/pprof/profile"
)

// category is what CPU time can be spent on. A stack belongs to the first category that has any of its functions in below, because
// everything called from there is part of that work; or else to that of the innermost function that a category has in at.
// Functions are told by how their names begin, package first.
type category struct {
	title     string
	below, at *regexp.Regexp
}

// begins matches names that begin in one of these ways. A * stands for anything.
func begins(with ...string) *regexp.Regexp {
	for i, w := range with {
		with[i] = strings.ReplaceAll(regexp.QuoteMeta(w), `\*`, ".*")
	}
	match := regexp.MustCompile("^(?:" + strings.Join(with, "|") + ")")
	match.Longest()
	return match
}

const ours = "github.com/kayak-k8s/kayak/internal/"

// storage is the category of etcd's own process.
const storage = "storage (etcd, its client, gRPC)"

// categories are in the order of the table.
func categories() []category {
	return []category{
		{title: "garbage collection", below: begins("runtime.gcBgMarkWorker", "runtime.gcAssistAlloc", "runtime.deductAssistCredit",
			"runtime.gcStart", "runtime.gcMark", "runtime.bgsweep", "runtime.bgscavenge", "runtime.deductSweepCredit", ours+"trim")},
		{title: storage, below: begins("go.etcd.io/", "google.golang.org/grpc"), at: begins(ours + "store")},
		{title: "network, TLS", below: begins("crypto/", "net.(", "vendor/golang.org/x/crypto", "internal/poll.(*FD).Accept", ours+"h2.(*socket)")},
		{title: "HTTP", at: begins("golang.org/x/net/http2", "golang.org/x/net/internal/httpcommon", "vendor/golang.org/x/net", "net/http", "net/textproto", "net/url", ours+"h2")},
		{title: "handling the request, authn, authz, fairness, metrics", at: begins("k8s.io/apiserver/pkg/", "k8s.io/component-base", "k8s.io/kubernetes/plugin/pkg/auth",
			"k8s.io/apiextensions-apiserver/pkg/apiserver.", "k8s.io/kube-aggregator", "k8s.io/client-go", "k8s.io/kubernetes/pkg/registry", "go.opentelemetry.io", "github.com/prometheus",
			"github.com/emicklei", "k8s.io/klog", "log/slog", ours+"server", ours+"verb", ours+"request", ours+"authn", ours+"authz", ours+"audit", "context.", "github.com/kayak-k8s/kayak.")},
		{title: "admission", below: begins("k8s.io/apiserver/pkg/admission", "k8s.io/apiserver/pkg/endpoints/handlers/admission", "k8s.io/kubernetes/plugin/pkg/admission", ours+"admission")},
		{title: "managedFields, merging what is applied", below: begins("sigs.k8s.io/structured-merge-diff", "k8s.io/apimachinery/pkg/util/managedfields", ours+"managedfields")},
		{title: "validation, CEL", below: begins("k8s.io/*/validation.", "k8s.io/*/validation/", "k8s.io/*/validate.", "k8s.io/*.Validate", "github.com/google/cel-go",
			"k8s.io/apiextensions-apiserver/pkg/apiserver/schema", "k8s.io/apiserver/pkg/cel")},
		{title: "conversion, defaults, patches, copies", at: begins("k8s.io/apimachinery/pkg/conversion", "k8s.io/apimachinery/pkg/runtime.", "k8s.io/*.DeepCopy", "k8s.io/*.Convert_",
			"k8s.io/*.SetDefaults_", "k8s.io/*.SetObjectDefaults_", "k8s.io/kubernetes/pkg/apis/", "k8s.io/apimachinery/pkg/util/strategicpatch",
			"k8s.io/apimachinery/pkg/util/mergepatch", "k8s.io/apimachinery/third_party/forked/golang/json", "gopkg.in/evanphx/json-patch", "k8s.io/apiextensions-apiserver/pkg/crdserverscheme", ours+"kind")},
		{title: "decoding and encoding", at: begins("encoding/", "sigs.k8s.io/json", "sigs.k8s.io/yaml", "go.yaml.in", "gopkg.in/yaml", "github.com/json-iterator", "github.com/gogo/protobuf",
			"google.golang.org/protobuf", "github.com/fxamacker/cbor", "k8s.io/apimachinery/pkg/runtime/serializer", "k8s.io/*.Unmarshal", "k8s.io/*.Marshal", "k8s.io/*).Unmarshal", "k8s.io/*).Marshal",
			"k8s.io/*).Size", "k8s.io/apimachinery/pkg/util/json", "k8s.io/apiserver/pkg/endpoints/handlers/responsewriters", ours+"wire", ours+"quickjson")},
		{title: "compression", at: begins("compress/", "hash/crc32", "github.com/klauspost/compress")},
		{title: "watch cache, lists, events", at: begins("k8s.io/apiserver/pkg/storage", "k8s.io/apimachinery/pkg/watch", "k8s.io/apimachinery/pkg/labels", "k8s.io/apimachinery/pkg/fields",
			"k8s.io/apiserver/pkg/endpoints/handlers.(*WatchServer)", "k8s.io/apiserver/pkg/endpoints/handlers.(*watch", "github.com/google/btree", "k8s.io/utils/third_party/forked/golang/btree", ours+"state", ours+"informers")},
		{title: elsewhere},
	}
}

// elsewhere is what no category has, mostly the scheduler of goroutines.
const elsewhere = "scheduler, and the rest"

// allocating is how names of functions that allocate begin.
var allocating = begins("runtime.mallocgc", "runtime.newobject", "runtime.makeslice", "runtime.growslice", "runtime.makemap", "runtime.(*mheap)", "runtime.rawbyteslice")

// categorySum adds up profiles.
type categorySum struct {
	by        map[string]int64
	total     int64
	allocated int64
}

// add adds a profile. All of etcd's own process is storage.
func (s *categorySum) add(p *profile.Profile, etcd bool) {
	if s.by == nil {
		s.by = map[string]int64{}
	}
	all := categories()
	known := map[string]place{}
	value := len(p.SampleType) - 1 // the last is CPU time, in nanoseconds; the one before counts
	for _, one := range p.Sample {
		n := one.Value[value]
		names := functions(one)
		title := storage
		if !etcd {
			title = titleOf(all, known, names)
		}
		s.by[title] += n
		s.total += n
		if title != all[0].title && anyOf(names, allocating) {
			s.allocated += n
		}
	}
}

func (s *categorySum) parts() (parts map[string]float64, allocating float64) {
	parts = map[string]float64{}
	if s.total == 0 {
		return parts, 0
	}
	for title, n := range s.by {
		parts[title] = float64(n) / float64(s.total)
	}
	return parts, float64(s.allocated) / float64(s.total)
}

// functions returns the names of a stack, the innermost first.
func functions(s *profile.Sample) []string {
	var names []string
	for _, location := range s.Location {
		for _, line := range location.Line {
			if line.Function != nil {
				names = append(names, line.Function.Name)
			}
		}
	}
	return names
}

func anyOf(names []string, match *regexp.Regexp) bool {
	for _, name := range names {
		if match.MatchString(name) {
			return true
		}
	}
	return false
}

// place is what categories a function belongs to; -1 for none.
type place struct{ below, at int }

// titleOf returns the category of a stack. What is known of a function is kept.
func titleOf(all []category, known map[string]place, names []string) string {
	below, at := -1, -1
	for _, name := range names {
		p, ok := known[name]
		if !ok {
			p = placeOf(all, name)
			known[name] = p
		}
		if p.below >= 0 && (below < 0 || p.below < below) {
			below = p.below
		}
		if at < 0 {
			at = p.at
		}
	}
	switch {
	case below >= 0:
		return all[below].title
	case at >= 0:
		return all[at].title
	}
	return elsewhere
}

// placeOf finds a function's categories. Of several that it could be at, the longest beginning counts.
func placeOf(all []category, name string) place {
	p, longest := place{-1, -1}, 0
	for i, c := range all {
		if c.below != nil && p.below < 0 && c.below.MatchString(name) {
			p.below = i
		}
		if c.at == nil {
			continue
		}
		if n := len(c.at.FindString(name)); n > longest {
			p.at, longest = i, n
		}
	}
	return p
}

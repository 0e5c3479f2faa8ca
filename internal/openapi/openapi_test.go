package openapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	openapiv2 "github.com/google/gnostic-models/openapiv2"
	openapiv3 "github.com/google/gnostic-models/openapiv3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/openapi3"
	"k8s.io/client-go/rest"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/spec3"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/kind/builtin"
	"github.com/kayak-k8s/kayak/internal/openapi/edit"
	"github.com/kayak-k8s/kayak/internal/runtimeconfig"
)

const (
	apps       = "/openapi/v3/apis/apps/v1"
	protobufV2 = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	protobufV3 = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
)

func builtinKinds(t testing.TB) []*kind.Kind {
	t.Helper()
	kinds, err := builtin.Kinds(builtin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return kinds
}

func builtinHandler(t testing.TB) *Handler {
	t.Helper()
	return New(defaultTable(t))
}

// defaultTable has what kube-apiserver serves by default.
func defaultTable(t testing.TB) *kind.Table {
	t.Helper()
	config, err := runtimeconfig.Parse(nil, false)
	if err != nil {
		t.Fatal(err)
	}
	return kind.NewTable(builtinKinds(t)...).Select(config.Enabled)
}

// do makes a request with headers given in pairs.
func do(t testing.TB, h *Handler, method, target string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	if err := h.Serve(w, r); err != nil {
		t.Fatalf("%s %s %v: %v", method, target, headers, err)
	}
	return w
}

func inflate(t testing.TB, body []byte) []byte {
	t.Helper()
	reader, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// stored returns a file of documents/, decompressed.
func stored(t testing.TB, name string) []byte {
	t.Helper()
	body, err := files.ReadFile("documents/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return inflate(t, body)
}

func hashOf(body []byte) string { return fmt.Sprintf("%X", sha512.Sum512(body)) }

func TestForms(t *testing.T) {
	t.Parallel()
	h := builtinHandler(t)
	const json = "application/json"
	for _, c := range []struct{ path, accept, file, contentType string }{
		{apps, "", "v3/apis__apps__v1.json.gz", json},
		{apps, "*/*", "v3/apis__apps__v1.json.gz", json},
		{apps, "application/*", "v3/apis__apps__v1.json.gz", json},
		{apps, "application/yaml, application/json;q=0.5", "v3/apis__apps__v1.json.gz", json},
		{apps, "application/json;q=0.5, " + protobufV3, "v3/apis__apps__v1.pb.gz", protobufV3},
		{apps, "application/com.github.proto-openapi.spec.v3@v1.0+protobuf", "v3/apis__apps__v1.pb.gz", protobufV3},
		{"/openapi/v3/api/v1", protobufV3, "v3/api__v1.pb.gz", protobufV3},
		{"/openapi/v2", "", "v2.json.gz", json},
		{"/openapi/v2?hash=wrong", json, "v2.json.gz", json}, // that is for v3
		{"/openapi/v2", protobufV2, "v2.pb.gz", protobufV2},
		{"/openapi/v2", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf", "v2.pb.gz", protobufV2},
		{"/openapi/v2", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf,*/*;q=0.1", "v2.pb.gz", protobufV2},
	} {
		want := stored(t, c.file)
		header := http.Header{
			"Accept-Ranges":  {"bytes"},
			"Content-Type":   {c.contentType},
			"Content-Length": {fmt.Sprint(len(want))},
			"Etag":           {`"` + hashOf(stored(t, strings.Replace(c.file, ".pb.", ".json.", 1))) + `"`},
			"Last-Modified":  {h.modified.UTC().Format(http.TimeFormat)},
			"Vary":           {"Accept-Encoding", "Accept"},
		}
		for _, method := range []string{"GET", "POST", "HEAD"} {
			w := do(t, h, method, c.path, "Accept", c.accept)
			if diff := cmp.Diff(header, w.Header()); diff != "" || w.Code != http.StatusOK {
				t.Errorf("%s %s: %d, headers (-want +got)\n%s", method, c.path, w.Code, diff)
			}
			if body := w.Body.Bytes(); method == "HEAD" && len(body) > 0 || method != "HEAD" && !bytes.Equal(body, want) {
				t.Errorf("%s %s: wrong body of %d bytes", method, c.path, len(body))
			}
		}
		w := do(t, h, "GET", c.path, "Accept", c.accept, "Accept-Encoding", "deflate, gzip;q=0.5")
		raw, err := files.ReadFile("documents/" + c.file)
		if err != nil {
			t.Fatal(err)
		}
		header.Set("Content-Encoding", "gzip")
		header.Del("Content-Length")
		if diff := cmp.Diff(header, w.Header()); diff != "" || w.Code != http.StatusOK || !bytes.Equal(w.Body.Bytes(), raw) {
			t.Errorf("%s with gzip: %d, %d bytes, headers (-want +got)\n%s", c.path, w.Code, w.Body.Len(), diff)
		}
	}
}

func TestNotAcceptable(t *testing.T) {
	t.Parallel()
	h := builtinHandler(t)
	for _, path := range []string{apps, apps + "?hash=wrong", "/openapi/v2"} {
		for _, accept := range []string{"text/plain", "application/yaml", ",,", "text/*", "application/json2"} {
			w := do(t, h, "GET", path, "Accept", accept)
			want := http.Header{"Vary": {"Accept-Encoding", "Accept"}}
			if diff := cmp.Diff(want, w.Header()); w.Code != http.StatusNotAcceptable || w.Body.Len() > 0 || diff != "" {
				t.Errorf("%s, Accept %s: %d, %q, headers (-want +got)\n%s", path, accept, w.Code, w.Body, diff)
			}
		}
	}
	w := do(t, h, "GET", apps, "Accept", protobufV2)
	if w.Code != http.StatusNotAcceptable {
		t.Errorf("a document of v3 in the form of v2: %d", w.Code)
	}
}

func TestHash(t *testing.T) {
	t.Parallel()
	h := builtinHandler(t)
	hash := hashOf(stored(t, "v3/apis__apps__v1.json.gz"))
	for _, accept := range []string{"application/json", protobufV3} {
		before := time.Now().Truncate(time.Second)
		w := do(t, h, "GET", apps+"?hash="+hash+"&timeout=32s", "Accept", accept)
		expires, err := http.ParseTime(w.Header().Get("Expires"))
		if err != nil || expires.Before(before.AddDate(1, 0, 0)) || expires.After(time.Now().AddDate(1, 0, 0)) {
			t.Errorf("Expires: %s, %v", w.Header().Get("Expires"), err)
		}
		if got := w.Header().Get("Cache-Control"); w.Code != http.StatusOK || got != "public, immutable" {
			t.Errorf("right hash: %d, Cache-Control %q", w.Code, got)
		}
		w = do(t, h, "GET", apps+"?hash="+strings.ToLower(hash)+"&timeout=32s", "Accept", accept, "Accept-Encoding", "gzip")
		want := http.Header{
			"Location":     {apps + "?hash=" + hash},
			"Content-Type": {accept},
			"Etag":         {`"` + hash + `"`},
			"Vary":         {"Accept-Encoding", "Accept"},
		}
		if diff := cmp.Diff(want, w.Header()); w.Code != http.StatusMovedPermanently || w.Body.Len() > 0 || diff != "" {
			t.Errorf("wrong hash: %d, %q, headers (-want +got)\n%s", w.Code, w.Body, diff)
		}
	}
	if w := do(t, h, "GET", apps); w.Header().Get("Cache-Control") != "" || w.Header().Get("Expires") != "" {
		t.Errorf("without a hash: %v", w.Header())
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	h := builtinHandler(t)
	for path, file := range map[string]string{apps: "v3/apis__apps__v1.json.gz", "/openapi/v2": "v2.json.gz"} {
		etag := `"` + hashOf(stored(t, file)) + `"`
		hash := "?hash=" + strings.Trim(etag, `"`)
		for _, c := range []struct {
			target string
			header []string
			code   int
		}{
			{path, []string{"If-None-Match", etag}, 304},
			{path, []string{"If-None-Match", etag, "Accept-Encoding", "gzip"}, 304},
			{path + hash, []string{"If-None-Match", "*"}, 304},
			{path, []string{"If-None-Match", `"other", ` + etag}, 304},
			{path, []string{"If-None-Match", `"other"`}, 200},
			{path, []string{"If-Modified-Since", h.modified.UTC().Format(http.TimeFormat)}, 304},
			{path, []string{"If-Modified-Since", h.modified.Add(-time.Minute).UTC().Format(http.TimeFormat)}, 200},
			{path, []string{"If-Match", `"other"`, "Accept-Encoding", "gzip"}, 412},
		} {
			w := do(t, h, "GET", c.target, c.header...)
			if w.Code != c.code || w.Header().Get("Etag") != etag || (w.Body.Len() > 0) != (c.code == 200) {
				t.Errorf("%s %v: %d, %d bytes, %v", c.target, c.header, w.Code, w.Body.Len(), w.Header())
			}
			if w.Code == 304 && (w.Header().Get("Content-Encoding") != "" || w.Header().Get("Content-Type") != "") {
				t.Errorf("%s %v: 304 with %v", c.target, c.header, w.Header())
			}
		}
	}
}

// A range is one of the document, not of its compressed form, whatever the client accepts.
func TestRanges(t *testing.T) {
	t.Parallel()
	h := builtinHandler(t)
	body := stored(t, "v3/apis__apps__v1.json.gz")
	for spec, want := range map[string][]byte{
		"bytes=0-10": body[:11], "bytes=1000-1999": body[1000:2000], "bytes=-5": body[len(body)-5:],
	} {
		w := do(t, h, "GET", apps, "Range", spec, "Accept-Encoding", "gzip")
		encoding := w.Header().Get("Content-Encoding")
		if w.Code != http.StatusPartialContent || !bytes.Equal(w.Body.Bytes(), want) || encoding != "" {
			t.Errorf("%s: %d, %d bytes, %v", spec, w.Code, w.Body.Len(), w.Header())
		}
	}
	w := do(t, h, "GET", apps, "Range", fmt.Sprintf("bytes=%d-", len(body)))
	if w.Code != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("behind the end: %d", w.Code)
	}
}

func TestAcceptsGzip(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{
		"": false, "gzip": true, "GZIP": true, "deflate, gzip": true,
		"gzip;q=0": false, "gzip;q=0.000": false, "gzip; q=0.1": true,
		"gzip ; q = 1": true, "*": false, "gzipped": false, "br,deflate": false, "gzip;q=x": false, "gzip;level=9": true,
		"identity;q=0.5,gzip;q=0": false,
	} {
		if got := acceptsGzip(http.Header{"Accept-Encoding": {value}}); got != want {
			t.Errorf("%q: %v", value, got)
		}
	}
	if !acceptsGzip(http.Header{"Accept-Encoding": {"br", "gzip"}}) {
		t.Error("a second header is not seen")
	}
}

func TestPaths(t *testing.T) {
	t.Parallel()
	h := builtinHandler(t)
	for _, path := range []string{
		"/openapi/v3/", "/openapi/v3/apis/apps/v1/", "/openapi/v3/apis/app", "/openapi/v3/apis/apps/v1beta1",
		"/openapi/v3//api/v1", "/openapi/v3/api__v1", "/openapi/v3/../v2",
	} {
		if w := do(t, h, "GET", path); w.Code != http.StatusNotFound || w.Body.Len() > 0 || len(w.Header()) > 0 {
			t.Errorf("%s: %d, %q, %v", path, w.Code, w.Body, w.Header())
		}
	}
	for _, path := range []string{
		"/", "/openapi", "/openapi/", "/openapi/v2/", "/openapi//v3", "/openapi/v1", "/openapi/v33", "/api",
	} {
		w := httptest.NewRecorder()
		err := h.Serve(w, httptest.NewRequest("GET", path, nil))
		if !errors.Is(err, ErrNotFound) || w.Body.Len() > 0 || len(w.Header()) > 0 {
			t.Errorf("%s: %v, %q, %v", path, err, w.Body, w.Header())
		}
	}
	if diff := cmp.Diff([]string{"/openapi/v2", "/openapi/v3", "/openapi/v3/"}, Paths()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func listed(t *testing.T, h *Handler) []string {
	t.Helper()
	var index handler3.OpenAPIV3Discovery
	if err := json.Unmarshal(do(t, h, "GET", "/openapi/v3").Body.Bytes(), &index); err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(index.Paths))
}

func TestIndex(t *testing.T) {
	t.Parallel()
	h := builtinHandler(t)
	w := do(t, h, "GET", "/openapi/v3", "Accept", "text/html", "Accept-Encoding", "gzip")
	want := http.Header{
		"Accept-Ranges":  {"bytes"},
		"Content-Type":   {"text/plain; charset=utf-8"},
		"Content-Length": {fmt.Sprint(w.Body.Len())},
		"Etag":           {`"` + hashOf(w.Body.Bytes()) + `"`},
		"Last-Modified":  {h.modified.UTC().Format(http.TimeFormat)},
	}
	if diff := cmp.Diff(want, w.Header()); diff != "" || w.Code != http.StatusOK {
		t.Errorf("%d, headers (-want +got)\n%s", w.Code, diff)
	}
	for path, file := range map[string]string{"api/v1": "api__v1", "apis/apps/v1": "apis__apps__v1", "apis/apps": "apis__apps"} {
		entry := fmt.Sprintf(`"%s":{"serverRelativeURL":"/openapi/v3/%s?hash=%s"}`, path, path, hashOf(stored(t, "v3/"+file+".json.gz")))
		if got := w.Body.String(); !strings.Contains(got, entry) {
			t.Errorf("got %s\nwant in it %s", got, entry)
		}
	}
	if w := do(t, h, "GET", "/openapi/v3", "If-None-Match", want.Get("Etag")); w.Code != http.StatusNotModified {
		t.Errorf("with its ETag: %d", w.Code)
	}
}

// The table decides what is listed; a group version that has no document is not.
func TestTableDecides(t *testing.T) {
	t.Parallel()
	kinds := builtinKinds(t)
	core := slices.DeleteFunc(slices.Clone(kinds), func(k *kind.Kind) bool { return k.Group != "" })
	custom := &kind.Kind{
		Group: "example.com", Resource: "things", Name: "Thing", Versions: []string{"v1"},
		Storage: schema.GroupVersion{Group: "example.com", Version: "v1"}, Codec: &kind.Codec{Creater: runtime.NewScheme()},
	}
	h := New(kind.NewTable(append(core, custom)...))
	if diff := cmp.Diff([]string{"api", "api/v1", "apis", "version"}, listed(t, h)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for _, path := range []string{apps, "/openapi/v3/apis/example.com/v1"} {
		if w := do(t, h, "GET", path); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if diff := cmp.Diff([]string{"api", "apis", "version"}, listed(t, New(kind.NewTable()))); diff != "" {
		t.Errorf("without kinds (-want +got)\n%s", diff)
	}
}

// A server with a set of kinds that nobody has foreseen has documents about what it serves, and only that.
func TestPruned(t *testing.T) {
	t.Parallel()
	all := kind.NewTable(builtinKinds(t)...)
	h := New(all.Select(func(gvr schema.GroupVersionResource) bool {
		return gvr.Version == "v1" && gvr.Resource != "ingresses"
	}))
	for _, target := range []string{"/openapi/v2", "/openapi/v3/apis/networking.k8s.io/v1"} {
		w := do(t, h, "GET", target)
		body := w.Body.String()
		if strings.Contains(body, "/ingresses") || strings.Contains(body, "IngressSpec") || strings.Contains(body, "/v1beta1/") {
			t.Errorf("%s has what is not served", target)
		}
		if !strings.Contains(body, "/networkpolicies") || !strings.Contains(body, "NetworkPolicySpec") {
			t.Errorf("%s lacks what is served", target)
		}
		if got := w.Header().Get("Etag"); got != `"`+hashOf(w.Body.Bytes())+`"` {
			t.Errorf("%s: ETag %s", target, got)
		}
		if w := do(t, h, "GET", target, "Accept-Encoding", "gzip"); string(inflate(t, w.Body.Bytes())) != body {
			t.Errorf("%s: another document with gzip", target)
		}
	}
	var message openapiv3.Document
	w := do(t, h, "GET", "/openapi/v3/apis/networking.k8s.io/v1", "Accept", protobufV3)
	if err := proto.Unmarshal(w.Body.Bytes(), &message); err != nil || len(message.Paths.Path) == 0 {
		t.Errorf("protobuf: %v", err)
	}
}

// The usual configurations are served as they are embedded: nothing is computed.
func TestForeseen(t *testing.T) {
	t.Parallel()
	all := kind.NewTable(builtinKinds(t)...)
	for _, betas := range []bool{false, true} {
		config, err := runtimeconfig.Parse(nil, betas)
		if err != nil {
			t.Fatal(err)
		}
		table := all.Select(config.Enabled)
		for name, variants := range embedded() {
			signature, ok := edit.Signature(name, table)
			if ok && !slices.ContainsFunc(variants, func(v variant) bool { return v.signature == signature }) {
				t.Errorf("betas %v: %s has to be made", betas, name)
			}
		}
	}
}

// Every group version of the built-in kinds has a document.
func TestBuiltinIsComplete(t *testing.T) {
	t.Parallel()
	table := kind.NewTable(builtinKinds(t)...)
	want := []string{"api", "apis", "version"}
	for _, k := range table.Kinds() {
		for _, version := range k.Versions {
			if k.Group == "" {
				want = append(want, "api/"+version)
			} else {
				want = append(want, "apis/"+k.Group, "apis/"+k.Group+"/"+version)
			}
		}
	}
	slices.Sort(want)
	if diff := cmp.Diff(slices.Compact(want), listed(t, New(table))); diff != "" {
		t.Errorf("(-table +index)\n%s", diff)
	}
}

// client returns client-go's discovery client of a server that serves h.
func client(t *testing.T, h *Handler) *discovery.DiscoveryClient {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h.Serve(w, r); err != nil {
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	c, err := discovery.NewDiscoveryClientForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// client-go lists and parses the documents, over real HTTP with its own compression and redirects.
func TestClientGo(t *testing.T) {
	t.Parallel()
	table := defaultTable(t)
	c := client(t, New(table))
	root := openapi3.NewRoot(c.OpenAPIV3())
	versions, err := root.GroupVersions()
	if err != nil {
		t.Fatal(err)
	}
	byText := func(a, b schema.GroupVersion) int { return strings.Compare(a.String(), b.String()) }
	slices.SortFunc(versions, byText)
	var want []schema.GroupVersion
	for _, group := range table.Groups() {
		for _, version := range table.GroupVersions(group) {
			want = append(want, schema.GroupVersion{Group: group, Version: version})
		}
	}
	slices.SortFunc(want, byText)
	if diff := cmp.Diff(want, versions); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for _, gv := range versions {
		got, err := root.GVSpec(gv)
		if err != nil {
			t.Fatal(err)
		}
		file := "v3/apis__" + gv.Group + "__" + gv.Version + ".json.gz"
		if gv.Group == "" {
			file = "v3/api__v1.json.gz"
		}
		gotJSON, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(gotJSON, stored(t, file)) {
			t.Errorf("%s is not what was sent", gv)
		}
	}
	pod, err := root.GVSpec(schema.GroupVersion{Version: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	patch := pod.Paths.Paths["/api/v1/namespaces/{namespace}/pods/{name}"].Patch
	if !slices.ContainsFunc(patch.Parameters, func(p *spec3.Parameter) bool { return p.Name == "fieldValidation" }) {
		t.Error("the patch of a pod does not say that fields can be validated")
	}
}

// client-go's client of v2 asks for protobuf, under its old name.
func TestClientGoV2(t *testing.T) {
	t.Parallel()
	got, err := client(t, builtinHandler(t)).OpenAPISchema()
	if err != nil {
		t.Fatal(err)
	}
	var want openapiv2.Document
	if err := proto.Unmarshal(stored(t, "v2.pb.gz"), &want); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(&want, got) {
		t.Error("the document is not what was sent")
	}
}

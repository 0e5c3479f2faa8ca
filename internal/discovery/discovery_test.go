package discovery

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	apidiscovery "k8s.io/api/apidiscovery/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	upstream "k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"sigs.k8s.io/yaml"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/kind/builtin"
	"github.com/kayak-k8s/kayak/internal/request"
	"github.com/kayak-k8s/kayak/internal/version"
	"github.com/kayak-k8s/kayak/internal/wire"
)

const address = "192.0.2.2:6443"

func builtinTable(t testing.TB) *kind.Table {
	t.Helper()
	kinds, err := builtin.Kinds(builtin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return kind.NewTable(kinds...)
}

func builtinHandler(t testing.TB) *Handler {
	t.Helper()
	return New(builtinTable(t), Options{ServerAddress: address})
}

const aggregatedType = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

// do makes a request with headers given in pairs.
func do(t testing.TB, h *Handler, method, target string, headers ...string) (*httptest.ResponseRecorder, error) {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	err := h.Serve(w, r)
	if err != nil && (w.Body.Len() > 0 || len(w.Header()) > 0) {
		t.Errorf("%s: error %v after something was written", target, err)
	}
	return w, err
}

func get(t testing.TB, h *Handler, target string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	w, err := do(t, h, "GET", target, headers...)
	if err != nil {
		t.Fatalf("GET %s %v: %v", target, headers, err)
	}
	if w.Code == http.StatusOK && w.Header().Get("Content-Length") != fmt.Sprint(w.Body.Len()) {
		t.Errorf("Content-Length %s for %d bytes", w.Header().Get("Content-Length"), w.Body.Len())
	}
	return w
}

// Bytes as kube-apiserver v1.37.2 sends them.
func TestSmallDocuments(t *testing.T) {
	t.Parallel()
	h := builtinHandler(t)
	h.SetPaths([]string{"/readyz", "/healthz", "/healthz"})
	const apps = `{"kind":"APIGroup","apiVersion":"v1","name":"apps","versions":[{"groupVersion":"apps/v1","version":"v1"}],` +
		`"preferredVersion":{"groupVersion":"apps/v1","version":"v1"}}` + "\n"
	const api = `{"kind":"APIVersions","versions":["v1"],"serverAddressByClientCIDRs":[{"clientCIDR":"0.0.0.0/0",` +
		`"serverAddress":"192.0.2.2:6443"}]}` + "\n"
	for path, want := range map[string]string{
		"/api": api, "/api/": api, "/api//": api, "/apis/apps": apps, "/apis/apps/": apps, "/apis/apps//": apps,
	} {
		w := get(t, h, path)
		if got := w.Body.String(); got != want {
			t.Errorf("%s: got %s\nwant %s", path, got, want)
		}
		wantHeader := http.Header{"Content-Type": {"application/json"}, "Content-Length": {fmt.Sprint(len(want))}}
		if diff := cmp.Diff(wantHeader, w.Header()); diff != "" {
			t.Errorf("%s: headers (-want +got):\n%s", path, diff)
		}
	}
	yamlAPI := "kind: APIVersions\nserverAddressByClientCIDRs:\n- clientCIDR: 0.0.0.0/0\n" +
		"  serverAddress: 192.0.2.2:6443\nversions:\n- v1\n"
	accept := "text/plain, application/*;q=0.5, application/yaml;q=0.1"
	if got := get(t, h, "/api", "Accept", accept).Body.String(); got != yamlAPI {
		t.Errorf("got %s, want %s", got, yamlAPI)
	}
}

func TestIndex(t *testing.T) {
	t.Parallel()
	h := builtinHandler(t)
	paths := []string{"/readyz", "/healthz", "/readyz"}
	h.SetPaths(paths)
	var want []string
	for _, path := range []string{"/", "/index.html"} {
		w := get(t, h, path, "Accept", "text/plain")
		var got metav1.RootPaths
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		want = []string{"/api", "/api/v1", "/apis", "/apis/", "/healthz", "/readyz", "/version"}
		for _, g := range h.groups {
			want = append(want, "/apis/"+g.name)
			for _, v := range g.versions {
				want = append(want, "/apis/"+g.name+"/"+v.name)
			}
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, got.Paths); diff != "" {
			t.Errorf("paths (-want +got):\n%s", diff)
		}
		indented := strings.HasPrefix(w.Body.String(), "{\n  \"paths\": [\n    \"/api\",\n")
		if !indented || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %v %s", path, w.Header(), w.Body)
		}
	}
	if !slices.Equal(paths, []string{"/readyz", "/healthz", "/readyz"}) {
		t.Error("the caller's paths were changed")
	}
	// Every path that is listed and is discovery's is served.
	for _, path := range want {
		if path != "/healthz" && path != "/readyz" {
			get(t, h, path)
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	want, err := json.MarshalIndent(version.Info(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	h := builtinHandler(t)
	for _, path := range []string{"/version", "/version/", "/version//"} {
		w := get(t, h, path, "Accept", "application/json, */*")
		if w.Body.String() != string(want) || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %v %s", path, w.Header(), w.Body)
		}
	}
}

// Statuses as kube-apiserver v1.37.2 sends them; nil stands for an answer, ErrNotFound for its plain text 404.
func TestErrors(t *testing.T) {
	t.Parallel()
	const types = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
	status := func(code int32, reason metav1.StatusReason, message string, details *metav1.StatusDetails) *metav1.Status {
		return &metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Code: code,
			Reason: reason, Message: message, Details: details}
	}
	missing := status(404, "NotFound", "the server could not find the requested resource", &metav1.StatusDetails{})
	method := status(405, "MethodNotAllowed", "the server does not allow this method on the requested resource",
		&metav1.StatusDetails{})
	accept := status(406, "NotAcceptable", "only the following media types are accepted: "+types, nil)
	routerAccept := status(406, "NotAcceptable", "406: Not Acceptable\n\nAvailable representations: "+types, &metav1.StatusDetails{})
	versionAccept := status(406, "NotAcceptable", "406: Not Acceptable\n\nAvailable representations: application/json",
		&metav1.StatusDetails{})
	body := status(415, "UnsupportedMediaType", "415: Unsupported Media Type", &metav1.StatusDetails{})
	notFound := &metav1.Status{}
	table := "application/json;as=Table;g=meta.k8s.io;v=v1"
	beta := "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"

	h := builtinHandler(t)
	for _, c := range []struct {
		method, path, headers string // "Name: value"
		want                  *metav1.Status
	}{
		{"GET", "/apis/nope", "", notFound},
		{"POST", "/apis/nope", "", notFound},
		{"GET", "/apis/nope/v1", "", notFound},
		{"GET", "/apiz", "", notFound},
		{"GET", "//api", "", notFound},
		{"GET", "/apis//", "", notFound},
		{"GET", "/apis//v1", "", notFound},
		{"GET", "/healthz", "", notFound},
		{"GET", "/apis/apps/v2", "", missing},
		{"POST", "/apis/apps/v2", "", missing},
		{"GET", "/api/v2", "", missing},
		{"GET", "/api/v2/", "", missing},
		{"GET", "/api//v1", "", missing},
		{"GET", "/version/x", "", missing},

		{"POST", "/api", "", method},
		{"HEAD", "/api", "", method},
		{"OPTIONS", "/apis/apps/v1", "", method},
		{"PUT", "/api/v1/", "", method},
		{"POST", "/version", "", method},
		{"POST", "/apis", "", nil},
		{"DELETE", "/apis/", "", nil},
		{"OPTIONS", "/apis/apps", "", nil},
		{"POST", "/", "", nil},

		{"POST", "/apis/apps//", "", method},

		{"GET", "/api", "Content-Type: text/plain", body},
		{"GET", "/apis/apps/v1", "Content-Type: text/plain", body},
		{"GET", "/version", "Content-Type: application/yaml", body},
		{"GET", "/api/v1", "Content-Type: application/yaml; charset=utf-8", nil},
		{"GET", "/apis", "Content-Type: text/plain", nil},

		{"GET", "/api", "Accept: text/plain", routerAccept},
		{"GET", "/api", "Accept: application/*", routerAccept},
		{"GET", "/apis/apps/v1", "Accept: text/plain", routerAccept},
		{"GET", "/version", "Accept: application/yaml", versionAccept},
		{"GET", "/version", "Accept: " + table, nil},
		{"GET", "/", "Accept: text/plain", nil},
		{"GET", "/apis", "Accept: text/plain", accept},
		{"GET", "/apis", "Accept: application/*", nil},
		{"GET", "/apis/apps", "Accept: text/plain", accept},
		{"GET", "/api", "Accept: " + table, accept},
		{"GET", "/apis", "Accept: " + table, accept},
		{"GET", "/apis/", "Accept: " + aggregatedType, accept},
		{"GET", "/apis/apps", "Accept: " + aggregatedType, accept},
		{"GET", "/apis/apps/v1", "Accept: " + aggregatedType, accept},
		{"GET", "/api", "Accept: " + beta, accept},
		{"GET", "/apis", "Accept: " + beta, accept},
		{"GET", "/apis", "Accept: " + beta + ",application/json", nil},
	} {
		var headers []string
		if name, value, ok := strings.Cut(c.headers, ": "); ok {
			headers = []string{name, value}
		}
		_, err := do(t, h, c.method, c.path, headers...)
		label := c.method + " " + c.path + " " + c.headers
		switch {
		case c.want == nil:
			if err != nil {
				t.Errorf("%s: %v", label, err)
			}
		case c.want == notFound:
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("%s: got %v, want ErrNotFound", label, err)
			}
		default:
			var carrier apierrors.APIStatus
			if !errors.As(err, &carrier) {
				t.Errorf("%s: got %v, want a Status", label, err)
				continue
			}
			if diff := cmp.Diff(c.want, request.Status(err)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", label, diff)
			}
		}
	}
}

// oracle returns upstream's handler, with the content of one of h's aggregated documents.
func oracle(t testing.TB, groups []*group) http.Handler {
	t.Helper()
	manager := upstream.NewResourceManager("apis")
	for _, g := range groups {
		for _, v := range g.discovery().Versions {
			manager.AddGroupVersion(g.name, v)
			manager.SetGroupVersionPriority(metav1.GroupVersion{Group: g.name, Version: v.Version}, min(priority(g.name), 20000), 15)
		}
	}
	legacy := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	return upstream.WrapAggregatedDiscoveryToHandler(legacy, manager, nil)
}

// Upstream's handler is the oracle: bytes, headers and choice of the aggregated document have to be its own.
func TestAggregatedAsUpstream(t *testing.T) {
	t.Parallel()
	table := kind.NewTable(append(builtinTable(t).Kinds(), customKinds("example.com", 2)...)...)
	h := New(table, Options{ServerAddress: address})
	const gvk = ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
	accepts := []string{
		aggregatedType, aggregatedType + ";profile=nopeer", aggregatedType + ",application/json",
		"application/json," + aggregatedType, "application/json;q=1," + aggregatedType + ";q=0.1",
		"application/yaml" + gvk, "application/vnd.kubernetes.protobuf" + gvk,
		"application/vnd.kubernetes.protobuf" + gvk + "," + aggregatedType, "*/*" + gvk, "application/*" + gvk,
		"application/json;pretty=1" + gvk, "application/json;stream=watch" + gvk, "application/yaml;stream=watch" + gvk,
		"application/json;stream=other" + gvk, "application/json;sv=v1" + gvk, "text/plain" + gvk,
		"application/json;g=apidiscovery.k8s.io;v=v2", "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
		"application/json;g=apidiscovery.k8s.io;v=v2;as=apigroupdiscoverylist", "application/json", "*/*", "",
	}
	for path, groups := range map[string][]*group{"/api": {h.core}, "/apis": h.groups} {
		want := oracle(t, groups)
		for _, accept := range accepts {
			for _, query := range []string{"", "?pretty=true", "?pretty=false"} {
				for _, agent := range []string{"kubectl", "curl/8"} {
					headers := []string{"Accept", accept, "User-Agent", agent, "Accept-Encoding", "gzip"}
					compare(t, h, want, path, query, headers)
				}
			}
		}
	}
}

func compare(t *testing.T, h *Handler, oracle http.Handler, path, query string, headers []string) {
	t.Helper()
	r := httptest.NewRequest("GET", path+query, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	want := httptest.NewRecorder()
	oracle.ServeHTTP(want, r)
	got, err := do(t, h, "GET", path+query, headers...)
	if want.Code == http.StatusTeapot { // not the aggregated document
		if err == nil && got.Header().Get("Etag") != "" {
			t.Errorf("%s%s %v: aggregated, not so upstream", path, query, headers)
		}
		return
	}
	if err != nil {
		// On the way to upstream's handler at /api is go-restful, which does not know such a wildcard.
		if path == "/api" && strings.HasPrefix(headers[1], "application/*") {
			return
		}
		t.Errorf("%s%s %v: %v", path, query, headers, err)
		return
	}
	got.Header().Del("Content-Length")
	if diff := cmp.Diff(want.Header(), got.Header()); diff != "" {
		t.Errorf("%s%s %v: headers (-upstream +kayak):\n%s", path, query, headers, diff)
	}
	if !bytes.Equal(want.Body.Bytes(), got.Body.Bytes()) {
		t.Errorf("%s%s %v: body (-upstream +kayak):\n%s", path, query, headers, cmp.Diff(want.Body.String(), got.Body.String()))
	}
}

func TestNotModified(t *testing.T) {
	t.Parallel()
	h := builtinHandler(t)
	for _, path := range []string{"/api", "/api/", "/apis"} {
		etag := get(t, h, path, "Accept", aggregatedType).Header().Get("Etag")
		if len(etag) != 2+128 {
			t.Fatalf("ETag %s is not a SHA-512 in quotes", etag)
		}
		w := get(t, h, path, "Accept", aggregatedType, "If-None-Match", etag)
		want := http.Header{"Etag": {etag}, "Vary": {"Accept"}, "Cache-Control": {"public"}}
		if w.Code != http.StatusNotModified || w.Body.Len() != 0 || !cmp.Equal(want, w.Header()) {
			t.Errorf("%s: %d %v %s", path, w.Code, w.Header(), w.Body)
		}
		for _, other := range []string{"*", "W/" + etag, strings.Trim(etag, `"`), `"x"`} {
			if w := get(t, h, path, "Accept", aggregatedType, "If-None-Match", other); w.Code != http.StatusOK {
				t.Errorf("%s: If-None-Match: %s was answered with %d", path, other, w.Code)
			}
		}
		// Only the aggregated form has an ETag.
		if w := get(t, h, path, "If-None-Match", etag); w.Code != http.StatusOK || w.Header().Get("Etag") != "" {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
	}
}

// YAML, protobuf and indented JSON say what JSON says, and all of it can be read by upstream's decoders.
func TestMediaTypesAgree(t *testing.T) {
	t.Parallel()
	h := builtinHandler(t)
	const aggregated = ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
	for _, c := range []struct {
		path, gvk string
		into      func() runtime.Object
	}{
		{"/api", "", func() runtime.Object { return &metav1.APIVersions{} }},
		{"/apis", "", func() runtime.Object { return &metav1.APIGroupList{} }},
		{"/apis/apps", "", func() runtime.Object { return &metav1.APIGroup{} }},
		{"/api/v1", "", func() runtime.Object { return &metav1.APIResourceList{} }},
		{"/apis/apps/v1", "", func() runtime.Object { return &metav1.APIResourceList{} }},
		{"/api", aggregated, func() runtime.Object { return &apidiscovery.APIGroupDiscoveryList{} }},
		{"/apis", aggregated, func() runtime.Object { return &apidiscovery.APIGroupDiscoveryList{} }},
	} {
		want := c.into()
		plain := get(t, h, c.path, "Accept", "application/json"+c.gvk).Body.Bytes()
		if err := json.Unmarshal(plain, want); err != nil {
			t.Fatal(err)
		}
		fromYAML := c.into()
		if err := yaml.UnmarshalStrict(get(t, h, c.path, "Accept", "application/yaml"+c.gvk).Body.Bytes(), fromYAML); err != nil {
			t.Fatal(err)
		}
		indented := c.into()
		pretty := get(t, h, c.path+"?pretty=1", "Accept", "application/json"+c.gvk).Body.Bytes()
		if err := json.Unmarshal(pretty, indented); err != nil {
			t.Fatal(err)
		}
		if len(pretty) <= len(plain) {
			t.Errorf("%s is not indented", c.path)
		}
		message := get(t, h, c.path, "Accept", "application/vnd.kubernetes.protobuf"+c.gvk).Body.Bytes()
		fromProtobuf := decodeProtobuf(t, message, c.into())
		for form, got := range map[string]runtime.Object{"YAML": fromYAML, "indented JSON": indented, "protobuf": fromProtobuf} {
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s%s in %s (-JSON):\n%s", c.path, c.gvk, form, diff)
			}
		}
	}
}

// decodeProtobuf reads the envelope and the message, and sets kind and apiVersion from the former.
func decodeProtobuf(t *testing.T, b []byte, into runtime.Object) runtime.Object {
	t.Helper()
	var unknown runtime.Unknown
	rest, ok := bytes.CutPrefix(b, []byte("k8s\x00"))
	if !ok {
		t.Fatalf("%q does not begin as Kubernetes' protobuf does", b)
	}
	if err := unknown.Unmarshal(rest); err != nil {
		t.Fatal(err)
	}
	if err := into.(interface{ Unmarshal([]byte) error }).Unmarshal(unknown.Raw); err != nil {
		t.Fatal(err)
	}
	into.GetObjectKind().SetGroupVersionKind(schema.FromAPIVersionAndKind(unknown.APIVersion, unknown.Kind))
	return into
}

// The envelope is byte for byte upstream's.
func TestProtobufAsUpstream(t *testing.T) {
	t.Parallel()
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	info, _ := runtime.SerializerInfoForMediaType(serializer.NewCodecFactory(scheme).SupportedMediaTypes(), wire.Protobuf.String())
	h := builtinHandler(t)
	for path, into := range map[string]runtime.Object{
		"/api": &metav1.APIVersions{}, "/apis": &metav1.APIGroupList{}, "/api/v1": &metav1.APIResourceList{},
	} {
		if err := json.Unmarshal(get(t, h, path).Body.Bytes(), into); err != nil {
			t.Fatal(err)
		}
		var want bytes.Buffer
		if err := info.Serializer.Encode(into, &want); err != nil {
			t.Fatal(err)
		}
		got := get(t, h, path, "Accept", wire.Protobuf.String()).Body.Bytes()
		if !bytes.Equal(want.Bytes(), got) {
			t.Errorf("%s: got %q\nwant %q", path, got, want.Bytes())
		}
	}
}

// customKinds makes kinds of a group as CustomResourceDefinitions do.
func customKinds(group string, n int) []*kind.Kind {
	var kinds []*kind.Kind
	for i := range n {
		kinds = append(kinds, &kind.Kind{
			Group: group, Resource: fmt.Sprintf("things%ds", i), Name: fmt.Sprintf("Thing%d", i), Namespaced: i%2 == 0,
			ShortNames: []string{fmt.Sprintf("t%d", i)}, Versions: []string{"v1beta1", "v2", "v1"},
			Codec:   &kind.Codec{Creater: runtime.NewScheme()},
			Storage: schema.GroupVersion{Group: group, Version: "v1"},
			Subresources: map[string]*kind.Subresource{
				"status": {Name: "status"}, "scale": {Name: "scale", Verbs: []string{"update", "get"}},
			},
		})
	}
	return kinds
}

func TestWithChangedKinds(t *testing.T) {
	t.Parallel()
	builtins := builtinTable(t).Kinds()
	first, second := customKinds("a.example.com", 2), customKinds("b.example.com", 2)
	with := func(kinds ...[]*kind.Kind) *kind.Table { return kind.NewTable(slices.Concat(kinds...)...) }

	before := New(with(builtins, first, second), Options{ServerAddress: address})
	before.SetPaths([]string{"/healthz"})
	etag := get(t, before, "/apis", "Accept", aggregatedType).Header().Get("Etag")

	table := with(builtins, first, second[:1])
	after, fresh := before.With(table), New(table, before.options)
	fresh.SetPaths([]string{"/healthz"})
	for path := range fresh.endpoints {
		for _, accept := range []string{"application/json", aggregatedType + ",application/json", wire.Protobuf.String()} {
			if path == "/version" {
				accept = "application/json"
			}
			want, got := get(t, fresh, path, "Accept", accept), get(t, after, path, "Accept", accept)
			if want.Body.String() != got.Body.String() {
				t.Errorf("%s differs from that of a new handler:\n%s", path, cmp.Diff(want.Body.String(), got.Body.String()))
			}
		}
	}
	if len(fresh.endpoints) != len(after.endpoints) {
		t.Errorf("%d endpoints, a new handler has %d", len(after.endpoints), len(fresh.endpoints))
	}
	if want, got := get(t, fresh, "/").Body.String(), get(t, after, "/").Body.String(); want != got {
		t.Errorf("index: got %s, want %s", got, want)
	}
	if got := get(t, after, "/apis", "Accept", aggregatedType).Header().Get("Etag"); got == etag {
		t.Error("the ETag did not change with the kinds")
	}
	shared := 0
	for _, g := range after.groups {
		if slices.Contains(before.groups, g) {
			shared++
		}
	}
	if after.core != before.core || shared != len(after.groups)-1 {
		t.Errorf("%d of %d groups are shared with the handler before", shared, len(after.groups))
	}
	if gone := before.With(with(builtins)); gone.endpoints["/apis/a.example.com"] != nil {
		t.Error("a group without kinds is still there")
	}
}

// Nothing to serve is served, too, and a kind without versions is none.
func TestNoKinds(t *testing.T) {
	t.Parallel()
	h := New(kind.NewTable(&kind.Kind{
		Group: "x", Name: "X", Resource: "xs", Codec: &kind.Codec{Creater: runtime.NewScheme()},
	}), Options{})
	if got := get(t, h, "/apis").Body.String(); got != `{"kind":"APIGroupList","apiVersion":"v1","groups":[]}`+"\n" {
		t.Errorf("/apis: %s", got)
	}
	want := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/apis", nil)
	r.Header.Set("Accept", aggregatedType)
	oracle(t, nil).ServeHTTP(want, r)
	for _, path := range []string{"/api", "/apis"} {
		if got := get(t, h, path, "Accept", aggregatedType).Body.String(); got != want.Body.String() {
			t.Errorf("%s: got %s, want %s", path, got, want.Body)
		}
	}
	if _, err := do(t, h, "GET", "/api/v1"); !apierrors.IsNotFound(err) {
		t.Errorf("/api/v1: %v", err)
	}
}

// Large documents are compressed for who wants it, as upstream's are.
func TestCompression(t *testing.T) {
	t.Parallel()
	h := New(kind.NewTable(customKinds("example.com", 300)...), Options{})
	plain := get(t, h, "/apis", "Accept", aggregatedType, "Accept-Encoding", "br, gzip;q=0.5, deflate")
	if plain.Header().Get("Content-Encoding") != "" || plain.Body.Len() < gzipThreshold {
		t.Fatalf("%v, %d bytes", plain.Header(), plain.Body.Len())
	}
	w := get(t, h, "/apis", "Accept", aggregatedType, "Accept-Encoding", "br, gzip")
	vary := w.Header()["Vary"]
	if !slices.Equal(vary, []string{"Accept", "Accept-Encoding"}) || w.Header().Get("Content-Encoding") != "gzip" {
		t.Errorf("headers: %v", w.Header())
	}
	reader, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(reader)
	if err != nil || !bytes.Equal(body, plain.Body.Bytes()) {
		t.Errorf("%d bytes, %v; uncompressed %d", len(body), err, plain.Body.Len())
	}
	// The headers of one answer are not those of the next.
	if got := get(t, h, "/apis", "Accept", aggregatedType).Header()["Vary"]; !slices.Equal(got, []string{"Accept"}) {
		t.Errorf("Vary: %v", got)
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	h := builtinHandler(t)
	want := get(t, builtinHandler(t), "/apis", "Accept", aggregatedType).Body.String()
	table := builtinTable(t)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			h.SetPaths([]string{fmt.Sprint("/", i)})
			if got := get(t, h, "/apis", "Accept", aggregatedType).Body.String(); got != want {
				t.Errorf("got %s", got)
			}
			get(t, h, "/")
			get(t, h.With(table), "/api/v1", "Accept", wire.Protobuf.String())
		})
	}
	wg.Wait()
}

func BenchmarkAggregated(b *testing.B) {
	h := builtinHandler(b)
	r := httptest.NewRequest("GET", "/apis", nil)
	r.Header.Set("Accept", aggregatedType+",application/json")
	b.ReportAllocs()
	for b.Loop() {
		if err := h.Serve(&discard{header: http.Header{}}, r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkResources(b *testing.B) {
	h := builtinHandler(b)
	r := httptest.NewRequest("GET", "/api/v1", nil)
	b.ReportAllocs()
	for b.Loop() {
		if err := h.Serve(&discard{header: http.Header{}}, r); err != nil {
			b.Fatal(err)
		}
	}
}

// One group of a thousand changes.
func BenchmarkWith(b *testing.B) {
	var kinds []*kind.Kind
	for i := range 1000 {
		kinds = append(kinds, customKinds(fmt.Sprintf("g%d.example.com", i), 1)...)
	}
	h := New(kind.NewTable(kinds...), Options{})
	get(b, h, "/apis", "Accept", aggregatedType)
	changed := append(slices.Clone(kinds[1:]), customKinds("g0.example.com", 2)...)
	table := kind.NewTable(changed...)
	b.ReportAllocs()
	for b.Loop() {
		get(b, h.With(table), "/apis", "Accept", aggregatedType)
	}
}

type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}

package kayak_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/kayak-k8s/kayak"
)

// caller sends requests as they are.
type caller struct {
	url    string
	client *http.Client
}

func newCaller(t *testing.T, config *rest.Config) *caller {
	t.Helper()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	return &caller{url: config.Host, client: client}
}

func (c *caller) do(t *testing.T, method, path, accept, contentType, body string, header ...string) (int, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, c.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", accept)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := c.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, answer
}

const metamorphicNamespace = "/api/v1/namespaces/default/"

// randomRequest is a write or a read of one of a few objects of a few kinds. The same source makes the same requests.
func randomRequest(r *rand.Rand) (method, path, contentType, body string) {
	resource := []string{"configmaps", "secrets", "services", "pods"}[r.IntN(4)]
	kind := map[string]string{"configmaps": "ConfigMap", "secrets": "Secret", "services": "Service", "pods": "Pod"}[resource]
	content := map[string]string{
		"configmaps": fmt.Sprintf(`"data":{"k":"v%d"}`, r.IntN(3)), "secrets": fmt.Sprintf(`"stringData":{"k":"v%d"}`, r.IntN(3)),
		"services": fmt.Sprintf(`"spec":{"clusterIP":"None","ports":[{"port":%d}]}`, 80+r.IntN(3)),
		"pods":     fmt.Sprintf(`"spec":{"terminationGracePeriodSeconds":0,"nodeName":"n%d","containers":[{"name":"c","image":"i"}]}`, r.IntN(2)),
	}[resource]
	name := fmt.Sprintf("%s%d", []string{"a", "b", "c"}[r.IntN(3)], r.IntN(4))
	object := fmt.Sprintf(`{"kind":%q,"apiVersion":"v1","metadata":{"name":%q,"labels":{"l":"%d"}},%s}`, kind, name, r.IntN(3), content)
	collection := metamorphicNamespace + resource
	switch r.IntN(9) {
	case 0, 1, 2:
		return "POST", collection, "application/json", object
	case 3:
		return "PUT", collection + "/" + name, "application/json", object
	case 4:
		return "PATCH", collection + "/" + name, "application/merge-patch+json", fmt.Sprintf(`{"metadata":{"labels":{"m":"%d"}}}`, r.IntN(3))
	case 5:
		return "PATCH", collection + "/" + name + "?fieldManager=m&force=true", "application/apply-patch+yaml", object
	case 6:
		return "DELETE", collection + "/" + name, "", ""
	case 7:
		return "GET", collection + "/" + name, "", ""
	}
	return "GET", collection + "?labelSelector=" + url.QueryEscape(fmt.Sprintf("l=%d", r.IntN(3))), "", ""
}

var differsByServer = regexp.MustCompile(`"(uid|resourceVersion|creationTimestamp|deletionTimestamp|time)":\s*"[^"]*"|"generation":\s*\d+|` +
	`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// The same requests have the same answers, whatever the store is; and whatever way a client reads, it reads the same.
func TestStoresAndReadsAgree(t *testing.T) {
	t.Parallel()
	shared := startEtcd(t)
	callers := map[string]*caller{}
	for name, config := range map[string]kayak.Config{"memory": {}, "embedded": {DataDir: t.TempDir()}, "external": shared.config()} {
		callers[name] = newCaller(t, start(t, config).RESTConfig())
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	codes := map[int]int{}
	for i := range 250 {
		method, path, contentType, body := randomRequest(r)
		answers := map[string]string{}
		for name, c := range callers {
			code, answer := c.do(t, method, path, "application/json", contentType, body)
			answers[name] = fmt.Sprintf("%d %s", code, differsByServer.ReplaceAll(answer, nil))
			codes[code]++
		}
		for name, answer := range answers {
			if diff := cmp.Diff(answers["memory"], answer); diff != "" {
				t.Fatalf("request %d, %s %s %s (-memory +%s):\n%s", i, method, path, body, name, diff)
			}
		}
	}
	t.Logf("answers: %v", codes)
	for name, c := range callers {
		t.Run(name, func(t *testing.T) {
			for _, resource := range []string{"configmaps", "secrets", "services", "pods"} {
				for _, query := range []string{"", "labelSelector=l%3D1", "fieldSelector=metadata.name%3Da1", "labelSelector=l%21%3D1,m"} {
					c.readsAgree(t, metamorphicNamespace+resource, query)
				}
				c.readsAgree(t, "/api/v1/"+resource, "")
			}
			c.readsAgree(t, metamorphicNamespace+"pods", "fieldSelector=spec.nodeName%3Dn1")
		})
	}
}

// readsAgree reads a collection in every way.
func (c *caller) readsAgree(t *testing.T, path, query string) {
	t.Helper()
	full := c.list(t, path, query)
	var want []unstructured.Unstructured
	for _, item := range full.Items {
		// Whether an item of a list says what it is depends on the media type.
		item.SetKind("")
		item.SetAPIVersion("")
		want = append(want, item)
	}
	agree := func(way string, got []unstructured.Unstructured) {
		t.Helper()
		for i := range got {
			got[i].SetKind("")
			got[i].SetAPIVersion("")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s?%s, %s (-full list +got):\n%s", path, query, way, diff)
		}
	}
	agree("in pages", c.pages(t, path, query))
	agree("as a watch-list", c.watchList(t, path, query))
	for _, media := range []string{"application/yaml", "application/vnd.kubernetes.protobuf"} {
		_, body := c.do(t, "GET", path+"?"+query, media, "", "")
		agree(media, decodeList(t, media, body))
	}
	_, compressed := c.do(t, "GET", path+"?"+query, "application/json", "", "", "Accept-Encoding", "gzip")
	agree("gzip", decodeList(t, "application/json", gunzip(t, compressed)))
	_, current := c.do(t, "GET", path+"?resourceVersion="+full.GetResourceVersion()+"&resourceVersionMatch=Exact&"+query, "application/json", "", "")
	agree("at its version", decodeList(t, "application/json", current))
	c.tableAgrees(t, path, query, full)
}

func (c *caller) list(t *testing.T, path, query string) *unstructured.UnstructuredList {
	t.Helper()
	code, body := c.do(t, "GET", path+"?"+query, "application/json", "", "")
	list := &unstructured.UnstructuredList{}
	if err := list.UnmarshalJSON(body); err != nil || code != http.StatusOK {
		t.Fatalf("%s?%s: %d %v %s", path, query, code, err, body)
	}
	return list
}

func (c *caller) pages(t *testing.T, path, query string) []unstructured.Unstructured {
	t.Helper()
	var all []unstructured.Unstructured
	token := ""
	for {
		page := c.list(t, path, query+"&limit=2&continue="+url.QueryEscape(token))
		all = append(all, page.Items...)
		if token = page.GetContinue(); token == "" {
			return all
		}
	}
}

// watchList reads the beginning of a watch, up to the bookmark that says that this was the list.
func (c *caller) watchList(t *testing.T, path, query string) []unstructured.Unstructured {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watch := "?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&"
	r, err := http.NewRequestWithContext(ctx, "GET", c.url+path+watch+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := c.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var all []unstructured.Unstructured
	for events := json.NewDecoder(response.Body); ; {
		var event struct {
			Type   string
			Object map[string]any
		}
		if err := events.Decode(&event); err != nil {
			t.Fatal(err)
		}
		object := unstructured.Unstructured{Object: event.Object}
		if event.Type == "BOOKMARK" && object.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true" {
			// A list is in the order of names, a watch-list in any.
			slices.SortFunc(all, func(a, b unstructured.Unstructured) int {
				return strings.Compare(a.GetNamespace()+"/"+a.GetName(), b.GetNamespace()+"/"+b.GetName())
			})
			return normalized(t, all)
		}
		all = append(all, object)
	}
}

// normalized gives numbers the types that they have in a list.
func normalized(t *testing.T, items []unstructured.Unstructured) []unstructured.Unstructured {
	t.Helper()
	if len(items) == 0 {
		return nil
	}
	data, err := json.Marshal(map[string]any{"kind": "List", "apiVersion": "v1", "items": items})
	if err != nil {
		t.Fatal(err)
	}
	return decodeList(t, "application/json", data)
}

func decodeList(t *testing.T, media string, body []byte) []unstructured.Unstructured {
	t.Helper()
	list := &unstructured.UnstructuredList{}
	var err error
	switch media {
	case "application/yaml":
		if body, err = yaml.YAMLToJSON(body); err == nil {
			err = list.UnmarshalJSON(body)
		}
	case "application/vnd.kubernetes.protobuf":
		var typed runtime.Object
		if typed, err = runtime.Decode(scheme.Codecs.UniversalDeserializer(), body); err == nil {
			if body, err = json.Marshal(typed); err == nil {
				err = list.UnmarshalJSON(body)
			}
		}
	default:
		err = list.UnmarshalJSON(body)
	}
	if err != nil {
		t.Fatalf("%s: %v: %q", media, err, body)
	}
	if len(list.Items) == 0 {
		return nil
	}
	return list.Items
}

func gunzip(t *testing.T, body []byte) []byte {
	t.Helper()
	if !bytes.HasPrefix(body, []byte("\x1f\x8b")) {
		return body // too little to be worth it
	}
	r, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// tableAgrees reads a table, whose rows have the objects' metadata, and the metadata alone.
func (c *caller) tableAgrees(t *testing.T, path, query string, full *unstructured.UnstructuredList) {
	t.Helper()
	var want, rows, alone []metav1.ObjectMeta
	for _, item := range full.Items {
		var object metav1.PartialObjectMetadata
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(item.Object, &object); err != nil {
			t.Fatal(err)
		}
		want = append(want, object.ObjectMeta)
	}
	var table metav1.Table
	_, body := c.do(t, "GET", path+"?"+query, "application/json;as=Table;g=meta.k8s.io;v=v1", "", "")
	if err := json.Unmarshal(body, &table); err != nil {
		t.Fatal(err)
	}
	for _, row := range table.Rows {
		var object metav1.PartialObjectMetadata
		if err := json.Unmarshal(row.Object.Raw, &object); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, object.ObjectMeta)
	}
	var partial metav1.PartialObjectMetadataList
	_, body = c.do(t, "GET", path+"?"+query, "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", "", "")
	if err := json.Unmarshal(body, &partial); err != nil {
		t.Fatal(err)
	}
	for _, item := range partial.Items {
		alone = append(alone, item.ObjectMeta)
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("%s?%s, table (-full list +got):\n%s", path, query, diff)
	}
	if diff := cmp.Diff(want, alone); diff != "" {
		t.Errorf("%s?%s, metadata (-full list +got):\n%s", path, query, diff)
	}
}

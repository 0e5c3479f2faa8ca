package verb_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	serializerjson "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	api "k8s.io/kubernetes/pkg/apis/core"

	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/store"
)

// putPods stores n pods, of about size bytes of JSON each, in a few namespaces, without asking anybody.
func (f *fixture) putPods(t testing.TB, n, size int) {
	t.Helper()
	for i := range n {
		f.putPod(t, i, n, size, "first", 0)
	}
	f.catchUp(t)
}

func podName(i, n int) (namespace, name string) {
	return fmt.Sprintf("ns-%d", i*10/n), fmt.Sprintf("pod-%06d", i)
}

func (f *fixture) putPod(t testing.TB, i, n, size int, text string, revision int64) int64 {
	t.Helper()
	namespace, name := podName(i, n)
	pod := &api.Pod{Spec: api.PodSpec{NodeName: fmt.Sprintf("node-%d", i%100), RestartPolicy: api.RestartPolicyAlways}}
	pod.Namespace, pod.Name, pod.UID = namespace, name, types.UID(fmt.Sprintf("00000000-0000-0000-0000-%012d", i))
	pod.CreationTimestamp = metav1.Unix(1700000000+int64(i), 0)
	pod.Labels = map[string]string{"app": fmt.Sprintf("app-%d", i%100), "text": text}
	pod.Annotations = map[string]string{"note": "<&> \u2028 \"quoted\""}
	noise := rand.New(rand.NewPCG(uint64(i), 1))
	for j := 0; j*350 < size; j++ {
		pod.Spec.Containers = append(pod.Spec.Containers, api.Container{
			Name: fmt.Sprintf("container-%d", j), Image: fmt.Sprintf("registry.example.com/team/image-%d@sha256:%016x", j, noise.Uint64()),
			Env:                    []api.EnvVar{{Name: "A", Value: strconv.FormatUint(noise.Uint64(), 36)}, {Name: "B", Value: "some value"}},
			ImagePullPolicy:        api.PullAlways,
			TerminationMessagePath: "/dev/termination-log", TerminationMessagePolicy: api.TerminationMessageReadFile,
		})
	}
	pods := f.table.Resource("", "v1", "pods")
	value, err := pods.Encode(pod)
	if err != nil {
		t.Fatal(err)
	}
	revision, err = f.Store.Put(t.Context(), pods.Key(root, namespace, name), value, revision, store.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

// fetch gets a path with an Accept header; compressed, when that is asked for and the answer is large, or else plain.
func (f *fixture) fetch(t testing.TB, path, accept string, compressed bool) (body []byte, wasCompressed bool) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), "GET", path, nil)
	r.Header.Set("Accept", accept)
	if compressed {
		r.Header.Set("Accept-Encoding", "deflate, gzip")
	}
	w := httptest.NewRecorder()
	f.serve(w, r)
	if w.Code != 200 {
		t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	if length := w.Header().Get("Content-Length"); length != "" && length != strconv.Itoa(w.Body.Len()) {
		t.Errorf("%s: Content-Length is %s of %d bytes", path, length, w.Body.Len())
	}
	if w.Header().Get("Content-Encoding") == "" {
		return w.Body.Bytes(), false
	}
	if w.Header().Get("Vary") != "Accept-Encoding" {
		t.Errorf("%s: Vary is %q", path, w.Header().Get("Vary"))
	}
	in := bytes.NewReader(w.Body.Bytes())
	gz, err := gzip.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	gz.Multistream(false)
	if body, err = io.ReadAll(gz); err != nil || in.Len() > 0 {
		t.Fatalf("%s: %v, %d bytes behind the member", path, err, in.Len())
	}
	return body, true
}

const (
	acceptJSON     = "application/json"
	acceptYAML     = "application/yaml"
	acceptProtobuf = "application/vnd.kubernetes.protobuf"
	acceptTable    = "application/json;as=Table;v=v1;g=meta.k8s.io"
	acceptMetadata = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
	metadataProto  = acceptProtobuf + ";as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
)

// want encodes a list with upstream's serializers, out of what the state has.
func (f *fixture) want(t testing.TB, namespace, accept string, pretty bool) []byte {
	t.Helper()
	pods := f.table.Resource("", "v1", "pods")
	snapshot := f.State.Snapshot()
	list := &corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, Items: []corev1.Pod{}}
	list.ResourceVersion = strconv.FormatInt(snapshot.Revision(), 10)
	partial := &metav1.PartialObjectMetadataList{
		TypeMeta: metav1.TypeMeta{Kind: "PartialObjectMetadataList", APIVersion: "meta.k8s.io/v1"}, ListMeta: list.ListMeta,
	} // Items stays nil when there are none: null
	snapshot.Ascend(pods.KeyPrefix(root, namespace), "", func(record *state.Record) bool {
		obj, err := pods.Decode(record.Value(), record.Revision)
		if err != nil {
			t.Fatal(err)
		}
		if obj, err = pods.Convert(obj); err != nil {
			t.Fatal(err)
		}
		pod := obj.(*corev1.Pod)
		pod.TypeMeta = metav1.TypeMeta{}
		list.Items = append(list.Items, *pod)
		partial.Items = append(partial.Items, metav1.PartialObjectMetadata{
			TypeMeta: metav1.TypeMeta{Kind: "PartialObjectMetadata", APIVersion: "meta.k8s.io/v1"}, ObjectMeta: pod.ObjectMeta,
		})
		return true
	})
	var obj runtime.Object = list
	if strings.Contains(accept, "as=") {
		obj = partial
	}
	var buffer bytes.Buffer
	var err error
	switch {
	case strings.HasPrefix(accept, acceptProtobuf):
		err = protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(obj, &buffer)
	default:
		options := serializerjson.SerializerOptions{Yaml: accept == acceptYAML, Pretty: pretty, StreamingCollectionsEncoding: true}
		err = serializerjson.NewSerializerWithOptions(serializerjson.DefaultMetaFactory, nil, nil, options).Encode(obj, &buffer)
	}
	if err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

// TestLists: a list in any form, compressed or not, kept or not, before and after changes, is byte for byte what upstream's
// serializers make of the objects.
func TestLists(t *testing.T) {
	t.Parallel()
	for _, budget := range []int64{1, 300_000, 3_000_000, 64 << 20} { // nothing is kept; some; as packed parts; everything
		t.Run(fmt.Sprint(budget), func(t *testing.T) {
			t.Parallel()
			const n = 400
			f := newFixture(t, nil, func(o *state.Options) { o.EncodingBytes = budget })
			f.putPods(t, n, 3000)
			for _, turn := range []string{"first", "second", "third"} {
				for _, namespace := range []string{"", "ns-3", "ns-4", "none"} {
					checkForms(t, f, namespace)
				}
				for i := 0; i < n; i += 1 + rand.IntN(100) {
					namespace, name := podName(i, n)
					revision := f.State.Snapshot().Get(f.table.Resource("", "v1", "pods").Key(root, namespace, name)).Revision
					f.putPod(t, i, n, 3000, turn, revision)
					f.catchUp(t)
				}
			}
		})
	}
}

func checkForms(t *testing.T, f *fixture, namespace string) {
	t.Helper()
	path := "/api/v1/pods"
	if namespace != "" {
		path = "/api/v1/namespaces/" + namespace + "/pods"
	}
	for _, form := range []struct{ accept, query string }{
		{acceptJSON, ""}, {acceptProtobuf, ""}, {acceptJSON, "?pretty=1"}, {acceptMetadata, ""}, {metadataProto, ""}, {acceptYAML, ""},
	} {
		if form.accept == acceptYAML && namespace == "" {
			continue // slow
		}
		want := f.want(t, namespace, form.accept, form.query != "")
		for _, compressed := range []bool{false, true} {
			got, was := f.fetch(t, path+form.query, form.accept, compressed)
			if was != (compressed && len(want) > 128<<10) {
				t.Errorf("%s %s of %d bytes: compressed is %t", path, form, len(want), was)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s %s, compressed %t: got %d bytes, want %d: %s", path, form, compressed, len(got), len(want), firstDifference(got, want))
			}
		}
	}
}

func firstDifference(a, b []byte) string {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	from := max(0, i-60)
	return fmt.Sprintf("at %d %q, want %q", i, a[from:min(len(a), i+60)], b[from:min(len(b), i+60)])
}

// TestPagedIsFull: the pages of a list, put together, are the list, whatever is written meanwhile.
func TestPagedIsFull(t *testing.T) {
	t.Parallel()
	const n = 500
	f := newFixture(t, nil)
	f.putPods(t, n, 1500)
	for _, limit := range []int{1, 7, 48, 100, 499, 500, 501} {
		for _, path := range []string{"/api/v1/pods?", "/api/v1/namespaces/ns-5/pods?", "/api/v1/pods?labelSelector=app%3Dapp-7&"} {
			if limit == 1 && path == "/api/v1/pods?" {
				continue // slow
			}
			full, _ := f.fetch(t, path, acceptProtobuf, false)
			var want, got corev1.PodList
			decodeProtobuf(t, full, &want)
			token := ""
			for {
				page, _ := f.fetch(t, fmt.Sprintf("%slimit=%d&continue=%s", path, limit, url.QueryEscape(token)), acceptProtobuf, true)
				var list corev1.PodList
				decodeProtobuf(t, page, &list)
				got.Items = append(got.Items, list.Items...)
				if list.ResourceVersion != want.ResourceVersion {
					t.Fatalf("%s limit %d: resourceVersion is %s, want %s", path, limit, list.ResourceVersion, want.ResourceVersion)
				}
				if rest := list.RemainingItemCount; rest != nil && int(*rest) != len(want.Items)-len(got.Items) {
					t.Errorf("%s limit %d: %d remain, want %d", path, limit, *rest, len(want.Items)-len(got.Items))
				}
				f.putPod(t, n+rand.IntN(1_000_000_000), n, 100, "new", 0) // in a namespace that sorts anywhere
				f.catchUp(t)
				if token = list.Continue; token == "" {
					break
				}
			}
			wanted, _ := json.Marshal(want.Items)
			if paged, _ := json.Marshal(got.Items); !bytes.Equal(paged, wanted) {
				t.Errorf("%s limit %d: %d items in pages, %d in the list", path, limit, len(got.Items), len(want.Items))
			}
		}
	}
}

func decodeProtobuf(t *testing.T, b []byte, into runtime.Object) {
	t.Helper()
	if _, _, err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Decode(b, nil, into); err != nil {
		t.Fatal(err)
	}
}

// TestTableInParts: a large table has the rows of the tables of single objects, in all its forms.
func TestTableInParts(t *testing.T) {
	t.Parallel()
	for name, budget := range map[string]int64{"kept": 0, "kept packed": 60_000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testTableInParts(t, budget)
		})
	}
}

func testTableInParts(t *testing.T, budget int64) {
	const n = 300
	f := newFixture(t, nil, func(o *state.Options) { o.EncodingBytes = budget })
	f.putPods(t, n, 1500)
	for _, include := range []string{"", "None", "Object", "Metadata", ""} {
		for _, form := range []string{"", "&pretty=1", "gzip"} {
			query := "?includeObject=" + include + strings.TrimPrefix(form, "gzip")
			body, was := f.fetch(t, "/api/v1/pods"+query, acceptTable, form == "gzip")
			if form == "gzip" && was != (len(body) > 128<<10) {
				t.Errorf("%s: compressed is %t for %d bytes", query, was, len(body))
			}
			var table metav1.Table
			if err := json.Unmarshal(body, &table); err != nil {
				t.Fatal(err)
			}
			if len(table.Rows) != n || table.ResourceVersion == "" || table.Kind != "Table" {
				t.Fatalf("%s: %d rows of %s at %s", query, len(table.Rows), table.Kind, table.ResourceVersion)
			}
			again, err := json.Marshal(&table)
			if form == "" && (err != nil || string(again)+"\n" != string(body)) {
				t.Errorf("%s: not as it would be encoded in one piece: %s", query, firstDifference(body, append(again, '\n')))
			}
			for _, i := range []int{0, 63, 64, 150, n - 1} {
				namespace, name := podName(i, n)
				body, _ := f.fetch(t, "/api/v1/namespaces/"+namespace+"/pods/"+name+query, acceptTable, false)
				var one metav1.Table
				if err := json.Unmarshal(body, &one); err != nil {
					t.Fatal(err)
				}
				got, _ := json.Marshal(compacted(t, table.Rows[i]))
				want, _ := json.Marshal(compacted(t, one.Rows[0]))
				if !bytes.Equal(got, want) {
					t.Errorf("%s row %d:\n%s\nwant\n%s", query, i, got, want)
				}
				if fmt.Sprint(table.ColumnDefinitions) != fmt.Sprint(one.ColumnDefinitions) {
					t.Errorf("%s: other columns", query)
				}
			}
		}
	}
}

func compacted(t *testing.T, row metav1.TableRow) metav1.TableRow {
	t.Helper()
	if len(row.Object.Raw) > 0 {
		var buffer bytes.Buffer
		if err := json.Compact(&buffer, row.Object.Raw); err != nil {
			t.Fatal(err)
		}
		row.Object.Raw = buffer.Bytes()
	}
	return row
}

// TestRowsThatAreKept: the row of a pod is kept, with or without headers asked for, but not that of one that tells when
// something happened to it.
func TestRowsThatAreKept(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	f.putPods(t, 100, 500)
	pods := f.table.Resource("", "v1", "pods")
	restarted := &api.Pod{Status: api.PodStatus{ContainerStatuses: []api.ContainerStatus{{
		RestartCount:         3,
		LastTerminationState: api.ContainerState{Terminated: &api.ContainerStateTerminated{FinishedAt: metav1.Unix(1700000000, 0)}},
	}}}}
	restarted.Name, restarted.Namespace, restarted.CreationTimestamp = "restarted", "ns-0", metav1.Unix(1600000000, 0)
	value, err := pods.Encode(restarted)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Store.Put(t.Context(), pods.Key(root, "ns-0", "restarted"), value, 0, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	f.catchUp(t)
	f.fetch(t, "/api/v1/pods?noHeaders=true", acceptTable, false)
	body, _ := f.fetch(t, "/api/v1/pods", acceptTable, false)
	if !strings.Contains(string(body), `"3 (`) {
		t.Error("the restarted pod does not tell when")
	}
	snapshot := f.State.Snapshot()
	snapshot.Ascend(pods.KeyPrefix(root, ""), "", func(r *state.Record) bool {
		if kept := len(r.Kept("table/row")) > 0; kept == strings.HasSuffix(r.Key, "/restarted") {
			t.Errorf("the row of %s: kept is %t", r.Key, kept)
		}
		return true
	})
}

// TestListWithACorruptObject: an object that cannot be decoded is a proper error, not half an answer.
func TestListWithACorruptObject(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	f.putPods(t, 300, 1500)
	key := f.table.Resource("", "v1", "pods").Key(root, "ns-9", "zzz")
	if _, err := f.Store.Put(t.Context(), key, []byte("k8s\x00nonsense"), 0, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	f.catchUp(t)
	for _, accept := range []string{acceptJSON, acceptProtobuf, acceptTable} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/api/v1/pods", nil)
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		f.serve(w, r)
		if w.Code != 500 {
			t.Errorf("%s: %d", accept, w.Code)
		}
	}
}

// TestListsConcurrently: lists in all forms agree while objects change and little is kept.
func TestListsConcurrently(t *testing.T) {
	t.Parallel()
	const n = 300
	f := newFixture(t, nil, func(o *state.Options) { o.EncodingBytes = 2_000_000 })
	f.putPods(t, n, 1500)
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for range 8 {
				plain, _ := f.fetch(t, "/api/v1/pods", acceptJSON, g%2 == 0)
				var list corev1.PodList
				if err := json.Unmarshal(plain, &list); err != nil || len(list.Items) != n {
					t.Errorf("%d items, %v", len(list.Items), err)
					return
				}
				path := "/api/v1/pods?resourceVersionMatch=Exact&resourceVersion=" + list.ResourceVersion
				again, _ := f.fetch(t, path, acceptJSON, g%2 == 1)
				if !bytes.Equal(plain, again) {
					t.Errorf("one revision, two lists: %s", firstDifference(again, plain))
				}
			}
		})
	}
	revisions := map[int]int64{}
	for range 200 {
		i := rand.IntN(n)
		if revisions[i] == 0 {
			namespace, name := podName(i, n)
			revisions[i] = f.State.Snapshot().Get(f.table.Resource("", "v1", "pods").Key(root, namespace, name)).Revision
		}
		revisions[i] = f.putPod(t, i, n, 1500, "changed", revisions[i])
	}
	all.Wait()
}

package conformance

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/yaml"

	"github.com/kayak-k8s/kayak"
	"github.com/kayak-k8s/kayak/internal/kind/builtin"
)

const namespace = "everykind"

func TestEveryKind(t *testing.T) {
	t.Parallel()
	c := startServer(t, kayak.Config{})
	c.must(t, "POST", "/api/v1/namespaces", jsonType, object{"metadata": object{"name": namespace}})
	byKind := samples(t, namespace)
	tested := 0
	for _, resources := range served(t, c) {
		for i, s := range resources {
			if !slices.Contains(s.resource.Verbs, "delete") {
				continue // reviews and the like are not stored
			}
			first := slices.IndexFunc(resources, func(s subject) bool {
				_, ok := byKind[s.gv.String()+"/"+s.resource.Kind]
				return ok
			})
			if first < 0 {
				t.Errorf("objects.yaml has no %s of %s", s.resource.Kind, s.gv.Group)
				break
			}
			s.first, s.client = &resources[first], c
			s.sample = byKind[s.first.gv.String()+"/"+s.resource.Kind]
			tested++
			// One version after the other: all have the same object.
			t.Run(s.gv.String()+"/"+s.resource.Name, func(t *testing.T) { s.test(t, i != first) })
		}
	}
	t.Logf("%d kinds in their versions", tested)
}

// subject is a kind in a version.
type subject struct {
	*client
	gv       schema.GroupVersion
	resource metav1.APIResource
	status   bool
	sample   sample
	first    *subject // the version that objects.yaml speaks
}

// served returns what the server has, the versions of a kind together, the preferred first.
func served(t *testing.T, c *client) [][]subject {
	t.Helper()
	d, err := discovery.NewDiscoveryClientForConfig(c.config)
	if err != nil {
		t.Fatal(err)
	}
	_, lists, err := d.ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	index := map[schema.GroupResource]int{}
	var all [][]subject
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list.APIResources {
			if strings.Contains(r.Name, "/") {
				continue
			}
			s := subject{gv: gv, resource: r, status: slices.ContainsFunc(list.APIResources, func(sub metav1.APIResource) bool {
				return sub.Name == r.Name+"/status"
			})}
			gr := schema.GroupResource{Group: gv.Group, Resource: r.Name}
			i, ok := index[gr]
			if !ok {
				i = len(all)
				index[gr] = i
				all = append(all, nil)
			}
			all[i] = append(all[i], s)
		}
	}
	return all
}

func (s *subject) collection() string {
	path := "/apis/" + s.gv.String()
	if s.gv.Group == "" {
		path = "/api/" + s.gv.Version
	}
	if s.resource.Namespaced {
		path += "/namespaces/" + namespace
	}
	return path + "/" + s.resource.Name
}

func (s *subject) name() string { return s.sample.Object["metadata"].(object)["name"].(string) }

func (s *subject) path() string { return s.collection() + "/" + s.name() }

// test takes the object through its life. In a version that objects.yaml does not speak, the server says what it looks like.
func (s *subject) test(t *testing.T, translate bool) {
	obj := s.sample.Object
	if translate {
		s.must(t, "POST", s.first.with(s).collection(), jsonType, obj)
		obj = bare(s.must(t, "GET", s.path(), jsonType, nil))
		s.remove(t, s.collection())
	}
	created := s.must(t, "POST", s.collection(), jsonType, obj)
	s.checkIdentity(t, created)
	same(t, "get after create", s.must(t, "GET", s.path(), jsonType, nil), created)
	s.list(t, created)
	s.watch(t, created)
	s.table(t)
	s.change(t)
	s.changeStatus(t)
	s.mediaTypes(t)
	s.deleteAll(t)
}

// with returns the subject in its first version, with what both share.
func (s *subject) with(other *subject) *subject {
	first := *s
	first.client, first.sample = other.client, other.sample
	return &first
}

func (s *subject) checkIdentity(t *testing.T, obj object) {
	t.Helper()
	metadata := obj["metadata"].(object)
	if obj["kind"] != s.resource.Kind || obj["apiVersion"] != s.gv.String() || metadata["uid"] == nil ||
		metadata["resourceVersion"] == nil || metadata["creationTimestamp"] == nil || metadata["name"] != s.name() {
		t.Errorf("%v is not a new %s of %s", obj, s.resource.Kind, s.gv)
	}
}

func (s *subject) list(t *testing.T, want object) {
	t.Helper()
	list := s.must(t, "GET", s.collection()+"?fieldSelector=metadata.name%3D"+s.name(), jsonType, nil)
	if list["kind"] != s.resource.Kind+"List" || list["apiVersion"] != s.gv.String() {
		t.Errorf("the list is a %v of %v", list["kind"], list["apiVersion"])
	}
	items := list["items"].([]any)
	if len(items) != 1 {
		t.Fatalf("the list has %d objects", len(items))
	}
	same(t, "list", items[0].(object), without(want, "kind", "apiVersion"))
}

func (s *subject) watch(t *testing.T, want object) {
	t.Helper()
	response := s.open(t, t.Context(), "GET", s.collection()+"?watch=1&fieldSelector=metadata.name%3D"+s.name(), "", jsonType, nil)
	defer response.Body.Close()
	var event struct {
		Type   string          `json:"type"`
		Object json.RawMessage `json:"object"`
	}
	if err := json.NewDecoder(response.Body).Decode(&event); err != nil {
		t.Fatal(err)
	}
	if event.Type != "ADDED" {
		t.Errorf("the first event is %s", event.Type)
	}
	same(t, "watch", decodeJSON(t, event.Object), want)
}

func (s *subject) table(t *testing.T) {
	t.Helper()
	raw := s.mustSend(t, "GET", s.path(), "", "application/json;as=Table;v=v1;g=meta.k8s.io", nil)
	var table metav1.Table
	if err := json.Unmarshal(raw, &table); err != nil {
		t.Fatal(err)
	}
	if table.Kind != "Table" || len(table.ColumnDefinitions) < 2 || len(table.Rows) != 1 ||
		len(table.Rows[0].Cells) < len(table.ColumnDefinitions) || // of IPAddresses upstream prints one more
		table.Rows[0].Cells[0] != s.name() && s.resource.Kind != "Event" { // events begin with when they were last seen
		t.Errorf("the table is %s", raw)
	}
}

// change updates and patches the object in every way.
func (s *subject) change(t *testing.T) {
	t.Helper()
	obj := s.must(t, "GET", s.path(), jsonType, nil)
	setLabel(obj, "put", "1")
	if updated := s.must(t, "PUT", s.path(), jsonType, obj); label(updated, "put") != "1" {
		t.Errorf("the update was answered with %v", updated)
	}
	code, body := s.send(t, "PUT", s.path(), jsonType, jsonType, toJSON(t, obj))
	if code != http.StatusConflict {
		t.Errorf("an update of an old version: %d %s", code, body)
	}
	s.must(t, "PATCH", s.path(), "application/merge-patch+json", object{"metadata": object{"labels": object{"merge": "1"}}})
	s.must(t, "PATCH", s.path(), "application/strategic-merge-patch+json", object{"metadata": object{"labels": object{"strategic": "1"}}})
	patched := s.must(t, "PATCH", s.path(), "application/json-patch+json",
		[]object{{"op": "add", "path": "/metadata/labels/json", "value": "1"}})
	for _, l := range []string{"put", "merge", "strategic", "json"} {
		if label(patched, l) != "1" {
			t.Errorf("after all patches there is no label %s: %v", l, patched)
		}
	}
	if s.sample.Change == nil || s.gv != s.first.gv {
		return
	}
	changed := s.must(t, "PATCH", s.path(), "application/merge-patch+json", s.sample.Change)
	if cmp.Equal(content(changed), content(patched)) {
		t.Errorf("%v changes nothing", s.sample.Change)
	}
}

// changeStatus checks that the status is written at its own path and nowhere else, and that nothing else is written there.
func (s *subject) changeStatus(t *testing.T) {
	t.Helper()
	if !s.status || s.resource.Kind == "CSINode" { // the one field of its status is behind a feature gate that is off
		return
	}
	if s.sample.Status == nil {
		t.Error("objects.yaml has no status")
		return
	}
	before := s.must(t, "GET", s.path()+"/status", jsonType, nil)
	same(t, "get of the status", before, s.must(t, "GET", s.path(), jsonType, nil))
	const mergePatch = "application/merge-patch+json"
	after := s.must(t, "PATCH", s.path()+"/status", mergePatch, object{"status": s.sample.Status})
	if cmp.Equal(before["status"], after["status"]) {
		t.Errorf("the status stays %v", before["status"])
	}
	same(t, "what is not the status", content(without(after, "status")), content(without(before, "status")))

	obj := s.must(t, "GET", s.path(), jsonType, nil)
	delete(obj, "status") // through the front door, this is no change
	setLabel(obj, "put", "2")
	updated := s.must(t, "PUT", s.path(), jsonType, obj)
	same(t, "the status after an update of the object", object{"s": updated["status"]}, object{"s": after["status"]})

	if s.sample.Change != nil && s.gv == s.first.gv {
		unchanged := s.must(t, "PATCH", s.path()+"/status", mergePatch, s.sample.Change)
		same(t, "the object after a write to its status", content(without(unchanged, "status")), content(without(updated, "status")))
	}
}

// mediaTypes reads and writes the object in YAML and protobuf.
func (s *subject) mediaTypes(t *testing.T) {
	t.Helper()
	want := s.must(t, "GET", s.path(), jsonType, nil)
	inYAML := s.mustSend(t, "GET", s.path(), "", yamlType, nil)
	asJSON, err := yaml.YAMLToJSON(inYAML)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "YAML", decodeJSON(t, asJSON), want)
	inProtobuf := s.mustSend(t, "GET", s.path(), "", protobufType, nil)
	same(t, "protobuf", s.fromProtobuf(t, inProtobuf), want)
	if code, _ := s.send(t, "GET", s.path(), "", "application/cbor", nil); code != http.StatusNotAcceptable {
		t.Errorf("CBOR is answered with %d", code)
	}
	// What was read can be written, and is no change.
	same(t, "an update in YAML", s.put(t, yamlType, inYAML), want)
	same(t, "an update in protobuf", s.put(t, protobufType, inProtobuf), want)
	if s.resource.Kind == "Job" {
		return // its selector and labels have been made for the uid that it had
	}
	newYAML, err := yaml.Marshal(bare(want))
	if err != nil {
		t.Fatal(err)
	}
	for _, write := range []struct {
		media string
		body  []byte
	}{{yamlType, newYAML}, {protobufType, s.newProtobuf(t, inProtobuf)}} {
		s.remove(t, s.path())
		created := decodeJSON(t, s.mustSend(t, "POST", s.collection(), write.media, jsonType, write.body))
		s.checkIdentity(t, created)
		expected := content(without(want, "status"))
		if s.resource.Kind != "Service" { // its addresses and ports are given anew
			same(t, "created in "+write.media, content(without(created, "status")), expected)
		}
	}
}

func (s *subject) put(t *testing.T, media string, body []byte) object {
	t.Helper()
	return decodeJSON(t, s.mustSend(t, "PUT", s.path(), media, jsonType, body))
}

// fromProtobuf decodes with upstream's types.
func (s *subject) fromProtobuf(t *testing.T, raw []byte) object {
	t.Helper()
	for _, scheme := range builtin.Schemes() {
		if !scheme.Recognizes(s.gv.WithKind(s.resource.Kind)) {
			continue
		}
		obj, gvk, err := protobuf.NewSerializer(scheme, scheme).Decode(raw, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		obj.GetObjectKind().SetGroupVersionKind(*gvk)
		return decodeJSON(t, toJSON(t, obj))
	}
	t.Fatal("no scheme knows the kind")
	return nil
}

// newProtobuf is an encoded object as it can be created: without a version.
func (s *subject) newProtobuf(t *testing.T, raw []byte) []byte {
	t.Helper()
	for _, scheme := range builtin.Schemes() {
		if !scheme.Recognizes(s.gv.WithKind(s.resource.Kind)) {
			continue
		}
		serializer := protobuf.NewSerializer(scheme, scheme)
		obj, gvk, err := serializer.Decode(raw, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		accessor, err := meta.Accessor(obj)
		if err != nil {
			t.Fatal(err)
		}
		accessor.SetResourceVersion("")
		obj.GetObjectKind().SetGroupVersionKind(*gvk)
		var buffer bytes.Buffer
		if err := serializer.Encode(obj, &buffer); err != nil {
			t.Fatal(err)
		}
		return buffer.Bytes()
	}
	t.Fatal("no scheme knows the kind")
	return nil
}

// deleteAll removes the object with deletecollection, where there is that, and sees that it is gone.
func (s *subject) deleteAll(t *testing.T) {
	t.Helper()
	path := s.path()
	if slices.Contains(s.resource.Verbs, "deletecollection") {
		path = s.collection() + "?fieldSelector=metadata.name%3D" + s.name()
	}
	s.remove(t, path)
}

// remove deletes at a path, at once, and takes away what keeps the object.
func (s *subject) remove(t *testing.T, path string) {
	t.Helper()
	s.must(t, "DELETE", path, jsonType, object{"gracePeriodSeconds": 0, "propagationPolicy": "Background"})
	code, body := s.send(t, "GET", s.path(), "", jsonType, nil)
	if code == http.StatusOK {
		switch s.resource.Kind {
		case "Namespace":
			obj := decodeJSON(t, body)
			obj["spec"] = object{}
			s.must(t, "PUT", s.path()+"/finalize", jsonType, obj)
			s.send(t, "DELETE", s.path(), "", jsonType, nil) // if it is still there
		case "CustomResourceDefinition":
			for end := time.Now().Add(time.Minute); code == http.StatusOK && time.Now().Before(end); { // the server takes away what keeps it
				time.Sleep(5 * time.Millisecond)
				code, _ = s.send(t, "GET", s.path(), "", jsonType, nil)
			}
		}
		code, body = s.send(t, "GET", s.path(), "", jsonType, nil)
	}
	if code != http.StatusNotFound {
		t.Fatalf("after the delete: %d %s", code, body)
	}
}

// same compares without managedFields.
func same(t *testing.T, what string, got, want object) {
	t.Helper()
	if diff := cmp.Diff(unmanaged(want), unmanaged(got)); diff != "" {
		t.Errorf("%s (- want, + got)\n%s", what, diff)
	}
}

func unmanaged(obj object) object {
	obj = clone(obj)
	if metadata, ok := obj["metadata"].(object); ok {
		delete(metadata, "managedFields")
	}
	return obj
}

func clone(obj object) object { return runtime.DeepCopyJSON(plain(obj)) }

// plain replaces json.Number, which DeepCopyJSON does not know.
func plain(obj object) object {
	raw, err := json.Marshal(obj)
	if err != nil {
		panic(err) // it came from JSON
	}
	var copied object
	if err := json.NewDecoder(bytes.NewReader(raw)).Decode(&copied); err != nil {
		panic(err)
	}
	return copied
}

func without(obj object, keys ...string) object {
	obj = clone(obj)
	for _, key := range keys {
		delete(obj, key)
	}
	return obj
}

// content is what the client decides: no versions, no identity.
func content(obj object) object {
	obj = unmanaged(obj)
	metadata := obj["metadata"].(object)
	for _, key := range []string{"resourceVersion", "uid", "creationTimestamp", "generation"} {
		delete(metadata, key)
	}
	return obj
}

// bare is an object that can be created.
func bare(obj object) object { return content(without(obj, "status")) }

func setLabel(obj object, key, value string) {
	metadata := obj["metadata"].(object)
	labels, ok := metadata["labels"].(object)
	if !ok {
		labels = object{}
		metadata["labels"] = labels
	}
	labels[key] = value
}

func label(obj object, key string) any {
	labels, _ := obj["metadata"].(object)["labels"].(object)
	return labels[key]
}

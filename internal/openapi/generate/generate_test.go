package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	openapiv2 "github.com/google/gnostic-models/openapiv2"
	openapiv3 "github.com/google/gnostic-models/openapiv3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/kind/builtin"
)

// written is what the generator writes now; making it takes a few seconds, so it is made once.
var written = sync.OnceValues(func() (map[string][]byte, error) {
	documents, err := builtinDocuments()
	if err != nil {
		return nil, err
	}
	return encodeAll(documents)
})

func writtenFiles(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := written()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func decompress(t *testing.T, name string, body []byte) []byte {
	t.Helper()
	reader, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	content, err := io.ReadAll(reader)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return content
}

func readAll(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files[name], err = os.ReadFile(filepath.Join(dir, name))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// What is embedded is what the generator writes now. It is compared as it was before compression, because another version of
// Go may compress in another way.
func TestEmbeddedIsFresh(t *testing.T) {
	t.Parallel()
	const hint = "run: go generate ./internal/openapi"
	want := writtenFiles(t)
	got := readAll(t, filepath.Join("..", "documents"))
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
		t.Fatalf("files (-generated +embedded), %s\n%s", hint, diff)
	}
	for name, body := range want {
		embedded := got[name]
		if strings.HasSuffix(name, ".gz") {
			if embedded[8] != 2 { // RFC 1952, XFL
				t.Errorf("%s is not compressed as well as it could be", name)
			}
			body, embedded = decompress(t, name, body), decompress(t, name, embedded)
		}
		if !bytes.Equal(body, embedded) {
			t.Errorf("%s is not what the generator writes, %s", name, hint)
		}
	}
}

func TestReplace(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "documents")
	for _, files := range []map[string][]byte{
		{"hashes.txt": []byte("1"), "v2.pb.gz": []byte("2"), "v3/old.json.gz": []byte("3")},
		{"hashes.txt": []byte("4"), "v3/new.json.gz": []byte("5")},
	} {
		if err := replace(dir, files); err != nil {
			t.Fatal(err)
		}
		got := readAll(t, dir)
		if diff := cmp.Diff(files, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
}

func TestHashes(t *testing.T) {
	t.Parallel()
	files := writtenFiles(t)
	var want strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if document, ok := strings.CutSuffix(name, ".json.gz"); ok {
			fmt.Fprintf(&want, "%s %X\n", document, sha512.Sum512(decompress(t, name, files[name])))
		}
	}
	if diff := cmp.Diff(want.String(), string(files["hashes.txt"])); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// The two forms say the same: protobuf, led back to JSON, is the JSON.
func TestFormsAgree(t *testing.T) {
	t.Parallel()
	files := writtenFiles(t)
	for name, body := range files {
		document, ok := strings.CutSuffix(name, ".pb.gz")
		if !ok {
			continue
		}
		want := parse(t, decompress(t, name, files[document+".json.gz"]))
		got := parse(t, messageJSON(t, document, decompress(t, name, body)))
		objects(map[string]any(want), func(object map[string]any) {
			if value, ok := object["default"].(map[string]any); ok && len(value) == 0 {
				object["default"] = nil // gnostic's message of v3 cannot hold it
			}
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-json +protobuf)\n%.3000s", document, diff)
		}
	}
}

func messageJSON(t *testing.T, name string, body []byte) []byte {
	t.Helper()
	var text []byte
	var err error
	if name == "v2" {
		var message openapiv2.Document
		if err := proto.Unmarshal(body, &message); err != nil {
			t.Fatal(err)
		}
		text, err = message.YAMLValue("")
	} else {
		var message openapiv3.Document
		if err := proto.Unmarshal(body, &message); err != nil {
			t.Fatal(err)
		}
		text, err = message.YAMLValue("")
	}
	if err != nil {
		t.Fatal(err)
	}
	converted, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	return converted
}

func parse(t *testing.T, body []byte) document {
	t.Helper()
	doc := document{}
	if err := json.Unmarshal(body, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// Of upstream's documents, the operations of the built-in kinds are left, with all that they refer to, and nothing is changed
// but the features: that CBOR is missing and enums are not.
func TestAgainstGolden(t *testing.T) {
	t.Parallel()
	golden, err := goldenDir()
	if err != nil {
		t.Fatal(err)
	}
	for file, compressed := range writtenFiles(t) {
		name, ok := strings.CutSuffix(file, ".json.gz")
		if !ok {
			continue
		}
		source := name + "_openapi.json"
		if name == "v2" {
			source = "swagger.json"
		}
		body := decompress(t, name, compressed)
		want, err := read(filepath.Join(golden, source))
		if err != nil {
			t.Fatal(err)
		}
		got := parse(t, body)
		checkComplete(t, name, got)
		enums := 0
		objects(map[string]any(got.schemas()), func(object map[string]any) { enums += withoutEnum(object) })
		if enums == 0 {
			t.Errorf("%s has no enums", name)
		}
		objects(map[string]any(want.paths()), dropCBOR)
		if bytes.Contains(body, []byte("cbor")) {
			t.Errorf("%s speaks of CBOR", name)
		}
		compareMembers(t, name, want.schemas(), got.schemas())
		compareMembers(t, name, want.parameters(), got.parameters())
		for path, operations := range got.paths() {
			compareMembers(t, name+" "+path, child(want.paths(), path), operations)
		}
		sections := map[string]any{"security": nil, "securityDefinitions": nil}
		for section := range sections {
			sections[section] = got[section]
		}
		compareMembers(t, name, want, sections)
		compareMembers(t, name, child(want, "components"), map[string]any{
			"securitySchemes": child(got, "components")["securitySchemes"],
		})
	}
}

// compareMembers reports what got has otherwise than want. It may have less.
func compareMembers(t *testing.T, where string, want map[string]any, got any) {
	t.Helper()
	for name, value := range got.(map[string]any) {
		if diff := cmp.Diff(want[name], value); diff != "" {
			t.Errorf("%s: %s (-golden +got)\n%s", where, name, diff)
		}
	}
}

// withoutEnum undoes addEnums for a schema, the way upstream does when the feature is off, and returns how many enums it had.
func withoutEnum(object map[string]any) int {
	_, isSchema := object["type"].(string)
	if _, ok := object["enum"].([]any); !ok || !isSchema {
		return 0
	}
	delete(object, "enum")
	if description, ok := object["description"].(string); ok {
		description, _, _ = strings.Cut(description, "Possible enum values:")
		object["description"] = strings.TrimRight(description, "\n")
	}
	return 1
}

// checkComplete reports references to what is not there, and what nothing refers to.
func checkComplete(t *testing.T, name string, doc document) {
	t.Helper()
	used := map[string]bool{}
	objects(map[string]any(doc), func(object map[string]any) {
		section, target, ok := reference(object)
		if !ok {
			return
		}
		used[target] = true
		if doc.schemas()[target] == nil && doc.parameters()[target] == nil {
			t.Errorf("%s refers to %s of %s, which is missing", name, target, section)
		}
	})
	for _, members := range []map[string]any{doc.schemas(), doc.parameters()} {
		for member := range members {
			if !used[member] {
				t.Errorf("%s has %s for nothing", name, member)
			}
		}
	}
}

// Every verb of every kind has its operation, and no operation is left that is not served.
func TestOperations(t *testing.T) {
	t.Parallel()
	kinds, err := builtin.Kinds(builtin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	table := kind.NewTable(kinds...)
	want := map[string]bool{}
	for _, k := range table.Kinds() {
		for _, version := range k.Versions {
			base := "apis/" + k.Group + "/" + version + " " + k.Resource
			if k.Group == "" {
				base = "api/" + version + " " + k.Resource
			}
			for _, verb := range k.Verbs {
				want[base+" "+verb] = true
			}
			for _, sub := range k.Subresources {
				for _, verb := range sub.Verbs {
					want[base+"/"+sub.Name+" "+verb] = true
				}
			}
		}
	}
	files := writtenFiles(t)
	v3 := map[string]bool{}
	for name, body := range files {
		if strings.HasPrefix(name, "v3/") && strings.HasSuffix(name, ".json.gz") {
			maps.Copy(v3, operations(t, parse(t, decompress(t, name, body))))
		}
	}
	v2 := operations(t, parse(t, decompress(t, "v2", files["v2.json.gz"])))
	for name, got := range map[string]map[string]bool{"v2": v2, "v3": v3} {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-table +documents)\n%s", name, diff)
		}
	}
}

// operations returns "apis/apps/v1 deployments/status update" for every operation with a resource. It finds out by the form of
// paths, and so in another way than the generator.
func operations(t *testing.T, doc document) map[string]bool {
	t.Helper()
	form := regexp.MustCompile(`^/(api/[^/]+|apis/[^/]+/[^/]+)/(?:watch/)?(?:namespaces/{namespace}/)?` +
		`([a-z]+)(?:/{name}(/[a-z]+)?)?$`)
	verbs := map[string]string{"post": "create", "put": "update", "watchlist": "watch"}
	found := map[string]bool{}
	for path, item := range doc.paths() {
		for method, operation := range item.(map[string]any) {
			fields, ok := operation.(map[string]any)
			if !ok || fields["x-kubernetes-action"] == nil {
				continue
			}
			parts := form.FindStringSubmatch(path)
			if parts == nil {
				t.Errorf("%s %s: what is that?", method, path)
				continue
			}
			verb := fields["x-kubernetes-action"].(string)
			if translated := verbs[verb]; translated != "" {
				verb = translated
			}
			found[parts[1]+" "+parts[2]+parts[3]+" "+verb] = true
		}
	}
	return found
}

func TestServed(t *testing.T) {
	t.Parallel()
	table := kind.NewTable(&kind.Kind{
		Group: "g", Resource: "things", Name: "Thing", Versions: []string{"v1"}, Verbs: []string{"get", "list"},
		Subresources: map[string]*kind.Subresource{"exec": {Name: "exec", Verbs: []string{"create"}}},
		Codec:        &kind.Codec{Creater: runtime.NewScheme()},
	})
	for call, want := range map[string]bool{
		"get /version/": true, "get /version/x": false, "get /logs/": false, "get /api/": true, "get /api/v1/": false,
		"get /apis/": true, "get /apis/g/": true, "get /apis/h/": false, "get /apis/g/v1/": true, "get /apis/g/v2/": false,
		"list /apis/g/v1/things": true, "list /apis/g/v1/namespaces/{namespace}/things": true, "list /apis/g/v2/things": false,
		"get /apis/g/v1/namespaces/{namespace}/things/{name}":         true,
		"delete /apis/g/v1/namespaces/{namespace}/things/{name}":      false,
		"create /apis/g/v1/namespaces/{namespace}/things/{name}/exec": true,
		"get /apis/g/v1/namespaces/{namespace}/things/{name}/exec":    false,
		"get /apis/g/v1/namespaces/{namespace}/things/{name}/log":     false,
		"watch /apis/g/v1/watch/things":                               false, "list /apis/g/v1/other": false,
	} {
		verb, path, _ := strings.Cut(call, " ")
		if got := served(table, path, verb); got != want {
			t.Errorf("%s: %v", call, got)
		}
	}
	for from, want := range map[[2]string]string{
		{"connect", "post"}: "create", {"connect", "head"}: "get", {"connect", "options"}: "get", {"connect", "put"}: "update",
		{"connect", "delete"}: "delete", {"watchlist", "get"}: "watch", {"deletecollection", "delete"}: "deletecollection",
	} {
		if got := verbOf(from[0], from[1]); got != want {
			t.Errorf("%v is %s", from, got)
		}
	}
}

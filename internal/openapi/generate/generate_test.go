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
	"sigs.k8s.io/yaml"

	"github.com/kayak-k8s/kayak/internal/openapi/edit"
)

// written is what the generator writes now; making it takes a few seconds, so it is made once.
var written = sync.OnceValues(func() (map[string][]byte, error) {
	tables, err := tables()
	if err != nil {
		return nil, err
	}
	return generate(tables)
})

// tables turns feature gates on, so it must not run beside what looks at them.
var tables = sync.OnceValues(servedTables)

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
		{"index.txt": []byte("1"), "v2.pb.gz": []byte("2"), "v3/old.json.gz": []byte("3")},
		{"index.txt": []byte("4"), "v3/new.json.gz": []byte("5")},
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

// Every document is listed, with its hash, and what it was pruned by.
func TestIndex(t *testing.T) {
	t.Parallel()
	files := writtenFiles(t)
	listed := 0
	for line := range strings.Lines(string(files["index.txt"])) {
		fields := strings.Fields(line)
		body := decompress(t, fields[3], files[fields[3]+".json.gz"])
		if got := fmt.Sprintf("%X", sha512.Sum512(body)); got != fields[2] || files[fields[3]+".pb.gz"] == nil {
			t.Errorf("%s has the hash %s", line, got)
		}
		listed++
	}
	if len(files) != 2*listed+1 {
		t.Errorf("%d documents are listed, and %d files written", listed, len(files))
	}
	tables, err := tables()
	if err != nil {
		t.Fatal(err)
	}
	for i, table := range tables {
		if signature, _ := edit.Signature("v2", table); !strings.Contains(string(files["index.txt"]), "v2 "+signature) {
			t.Errorf("there is no v2 document for the set of kinds %d", i)
		}
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
		edit.Objects(map[string]any(want), func(object map[string]any) {
			value, ok := object["default"].(map[string]any)
			if isProperty := value["description"] != nil || value["$ref"] != nil; ok && !isProperty {
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
	if strings.HasPrefix(name, "v2") {
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

func readGolden(path string) (edit.Document, error) {
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return edit.Parse(body)
}

func parse(t *testing.T, body []byte) edit.Document {
	t.Helper()
	doc := edit.Document{}
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
		document := name
		if i := strings.LastIndexByte(name, '-'); i > 0 && len(name)-i == 9 {
			document = name[:i]
		}
		body := decompress(t, name, compressed)
		want, err := readGolden(filepath.Join(golden, goldenFile(document)))
		if err != nil {
			t.Fatal(err)
		}
		got := parse(t, body)
		checkComplete(t, name, got)
		enums := 0
		edit.Objects(map[string]any(got.Schemas()), func(object map[string]any) { enums += withoutEnum(object) })
		if enums == 0 && (document == "v2" || document == "v3/api__v1") {
			t.Errorf("%s has no enums", name)
		}
		edit.Objects(map[string]any(want.Paths()), dropCBOR)
		if bytes.Contains(body, []byte("cbor")) {
			t.Errorf("%s speaks of CBOR", name)
		}
		compareMembers(t, name, want.Schemas(), got.Schemas())
		compareMembers(t, name, want.Parameters(), got.Parameters())
		for path, operations := range got.Paths() {
			compareMembers(t, name+" "+path, edit.Child(want.Paths(), path), operations)
		}
		sections := map[string]any{"security": nil, "securityDefinitions": nil}
		for section := range sections {
			sections[section] = got[section]
		}
		compareMembers(t, name, want, sections)
		compareMembers(t, name, edit.Child(want, "components"), map[string]any{
			"securitySchemes": edit.Child(got, "components")["securitySchemes"],
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
func checkComplete(t *testing.T, name string, doc edit.Document) {
	t.Helper()
	used := map[string]bool{}
	edit.Objects(map[string]any(doc), func(object map[string]any) {
		section, target, ok := edit.Reference(object)
		if !ok {
			return
		}
		used[target] = true
		if doc.Schemas()[target] == nil && doc.Parameters()[target] == nil {
			t.Errorf("%s refers to %s of %s, which is missing", name, target, section)
		}
	})
	for _, members := range []map[string]any{doc.Schemas(), doc.Parameters()} {
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
	tables, err := tables()
	if err != nil {
		t.Fatal(err)
	}
	table := tables[len(tables)-1]
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
	v2 := operations(t, parse(t, decompress(t, "v2", files[largest(files, "v2")+".json.gz"])))
	for name, got := range map[string]map[string]bool{"v2": v2, "v3": v3} {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-table +documents)\n%s", name, diff)
		}
	}
}

// largest returns the files of a document that has everything.
func largest(files map[string][]byte, name string) string {
	file := ""
	for line := range strings.Lines(string(files["index.txt"])) {
		if fields := strings.Fields(line); fields[0] == name {
			file = fields[3]
		}
	}
	return file
}

// operations returns "apis/apps/v1 deployments/status update" for every operation with a resource. It finds out by the form of
// paths, and so in another way than the generator.
func operations(t *testing.T, doc edit.Document) map[string]bool {
	t.Helper()
	form := regexp.MustCompile(`^/(api/[^/]+|apis/[^/]+/[^/]+)/(?:watch/)?(?:namespaces/{namespace}/)?` +
		`([a-z]+)(?:/{name}(/[a-z]+(?:/{path})?)?)?$`)
	verbs := map[string]string{"post": "create", "put": "update", "watchlist": "watch"}
	found := map[string]bool{}
	for path, item := range doc.Paths() {
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
			if verb == "connect" {
				verb = method
			}
			if verb == "head" || verb == "options" {
				continue // not verbs of Kubernetes
			}
			if translated := verbs[verb]; translated != "" {
				verb = translated
			}
			found[parts[1]+" "+parts[2]+strings.TrimSuffix(parts[3], "/{path}")+" "+verb] = true
		}
	}
	return found
}

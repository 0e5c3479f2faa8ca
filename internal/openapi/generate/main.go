// Command generate writes the OpenAPI documents that package openapi embeds. Run it with "go generate ./internal/openapi"
// after a change of the built-in kinds or of the Kubernetes version; a test says when that was forgotten.
//
// # From upstream's documents to kayak's
//
// The source are the golden documents in the module k8s.io/kubernetes, api/openapi-spec: one for each group version in OpenAPI
// v3, and swagger.json, everything in OpenAPI v2. They are what a kube-apiserver with all features says, not what one in its
// default configuration says. So each document goes through these steps; without the second, the outcome has, but for the order
// of some fields, exactly what kube-apiserver sends:
//
//   - features (features.go): CBOR, an alpha feature, is taken out; the values of enums, a feature that is on by default and
//     that the golden documents are written without, are put in, from upstream's generated definitions;
//   - prune (prune.go): operations that the built-in kinds do not serve are taken out, and then the schemas that only those
//     needed;
//   - encode (encode.go): JSON in upstream's order of fields; protobuf made from that, as upstream does; both with gzip.
//
// # What it writes
//
// Below the directory that is its only argument:
//
//	v3/api__v1.json.gz, v3/api__v1.pb.gz    the document of a group version, named as upstream names it
//	v2.json.gz, v2.pb.gz                    the document of everything
//	hashes.txt                              a line for each document: its name, and the SHA-512 of its JSON, which is its ETag
package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/kind/builtin"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: generate DIRECTORY")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	documents, err := builtinDocuments()
	if err != nil {
		return err
	}
	files, err := encodeAll(documents)
	if err != nil {
		return err
	}
	return replace(dir, files)
}

// builtinDocuments returns the documents for the built-in kinds by name: "v2", "v3/apis__apps__v1".
func builtinDocuments() (map[string]document, error) {
	kinds, err := builtin.Kinds(builtin.Options{})
	if err != nil {
		return nil, err
	}
	golden, err := goldenDir()
	if err != nil {
		return nil, err
	}
	return documentsFor(kind.NewTable(kinds...), golden)
}

// goldenDir is where the go command keeps upstream's documents.
func goldenDir() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes").Output()
	if err != nil {
		return "", fmt.Errorf("cannot find the module k8s.io/kubernetes: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "api", "openapi-spec"), nil
}

// documentsFor reads and adapts the documents of the group versions of a table, and that of everything.
func documentsFor(table *kind.Table, golden string) (map[string]document, error) {
	sources := map[string]string{"v2": "swagger.json"}
	for _, group := range table.Groups() {
		for _, version := range table.GroupVersions(group) {
			name := "apis__" + group + "__" + version
			if group == "" {
				name = "api__" + version
			}
			sources["v3/"+name] = filepath.Join("v3", name+"_openapi.json")
		}
	}
	documents := map[string]document{}
	for name, source := range sources {
		doc, err := read(filepath.Join(golden, source))
		if err != nil {
			return nil, err
		}
		if err := doc.setFeatures(); err != nil {
			return nil, fmt.Errorf("%s: %w", source, err)
		}
		doc.prune(table)
		documents[name] = doc
	}
	return documents, nil
}

// replace writes files to a directory, in place of those that an earlier run wrote.
func replace(dir string, files map[string][]byte) error {
	for _, pattern := range []string{"hashes.txt", "*.gz", "v3/*.gz"} {
		old, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, path := range old {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "v3"), 0o755); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), files[name], 0o644); err != nil {
			return err
		}
		fmt.Printf("%8d %s\n", len(files[name]), name)
	}
	return nil
}

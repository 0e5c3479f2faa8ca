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
//   - prune: operations that the built-in kinds do not serve are taken out, and then the schemas that only those needed;
//   - encode: JSON in upstream's order of fields; protobuf made from that, as upstream does; both with gzip.
//
// The last two are package edit's, because a server whose --runtime-config nobody has foreseen does them when it is asked.
//
// # What it writes
//
// Below the directory that is its only argument:
//
//	v3/api__v1.json.gz, v3/api__v1.pb.gz    the document of a group version, named as upstream names it
//	v2.json.gz, v2.pb.gz                    the document of everything
//	v2-0123abcd.json.gz, ...                the same for another set of kinds
//	index.txt                               a line for each document: its name, what it was pruned by (edit.Signature), the
//	                                        SHA-512 of its JSON, which is its ETag, and the name of its files
//
// There is a document for each of these sets: a server's with kube-apiserver's defaults, one with betas, one with all versions, and
// one that has all feature gates on, too, which is written last and of which everything else is a part.
package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	utilfeature "k8s.io/apiserver/pkg/util/feature"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/kind/builtin"
	"github.com/kayak-k8s/kayak/internal/openapi/edit"
	"github.com/kayak-k8s/kayak/internal/runtimeconfig"
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
	tables, err := servedTables()
	if err != nil {
		return err
	}
	files, err := generate(tables)
	if err != nil {
		return err
	}
	return replace(dir, files)
}

// servedTables returns the sets of kinds that there are documents for, each a part of the last.
func servedTables() ([]*kind.Table, error) {
	kinds, err := builtin.Kinds(builtin.Options{})
	if err != nil {
		return nil, err
	}
	all := kind.NewTable(kinds...)
	var tables []*kind.Table
	for _, betas := range []bool{false, true} {
		config, err := runtimeconfig.Parse(nil, betas)
		if err != nil {
			return nil, err
		}
		tables = append(tables, all.Select(config.Enabled))
	}
	// The gates are the process's, and this process does nothing else.
	if err := utilfeature.DefaultMutableFeatureGate.Set("AllAlpha=true,AllBeta=true"); err != nil {
		return nil, err
	}
	if kinds, err = builtin.Kinds(builtin.Options{}); err != nil {
		return nil, err
	}
	return append(tables, all, kind.NewTable(kinds...)), nil
}

// goldenDir is where the go command keeps upstream's documents.
func goldenDir() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes").Output()
	if err != nil {
		return "", fmt.Errorf("cannot find the module k8s.io/kubernetes: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "api", "openapi-spec"), nil
}

// generate returns the files to write, by name.
func generate(tables []*kind.Table) (map[string][]byte, error) {
	golden, err := goldenDir()
	if err != nil {
		return nil, err
	}
	names, err := goldenNames(golden)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	var index strings.Builder
	for _, name := range names {
		source, err := os.ReadFile(filepath.Join(golden, goldenFile(name)))
		if err != nil {
			return nil, err
		}
		if err := variants(name, source, tables, files, &index); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	files["index.txt"] = []byte(index.String())
	return files, nil
}

// goldenNames lists upstream's documents.
func goldenNames(golden string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(golden, "v3"))
	if err != nil {
		return nil, err
	}
	names := []string{"v2"}
	for _, entry := range entries {
		names = append(names, "v3/"+strings.TrimSuffix(entry.Name(), "_openapi.json"))
	}
	return names, nil
}

func goldenFile(name string) string {
	if name == "v2" {
		return "swagger.json"
	}
	return name + "_openapi.json"
}

// variants adds the files and the lines of one document, one for each set of kinds that makes a difference to it.
func variants(name string, source []byte, tables []*kind.Table, files map[string][]byte, index *strings.Builder) error {
	seen := map[string]bool{}
	for _, table := range distinct(name, tables) {
		signature, _ := edit.Signature(name, table)
		doc, err := edit.Parse(source)
		if err != nil {
			return err
		}
		if err := setFeatures(doc); err != nil {
			return err
		}
		doc.Prune(table)
		encoded, err := doc.Encode()
		if err != nil {
			return err
		}
		file := name
		if len(seen) > 0 {
			file += "-" + signature[:8]
		}
		seen[signature] = true
		files[file+".json.gz"], files[file+".pb.gz"] = encoded.JSON, encoded.Protobuf
		fmt.Fprintln(index, name, signature, encoded.Hash, file)
	}
	return nil
}

// distinct returns the tables with which a document is there, and different each time. The last one is always the last.
func distinct(name string, tables []*kind.Table) []*kind.Table {
	seen := map[string]bool{}
	var result []*kind.Table
	for _, table := range slices.Backward(tables) {
		signature, ok := edit.Signature(name, table)
		if ok && !seen[signature] {
			seen[signature] = true
			result = append(result, table)
		}
	}
	slices.Reverse(result)
	return result
}

// replace writes files to a directory, in place of those that an earlier run wrote.
func replace(dir string, files map[string][]byte) error {
	for _, pattern := range []string{"index.txt", "*.gz", "v3/*.gz"} {
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

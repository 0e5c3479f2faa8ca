// Package arch checks rules about the source code that the compiler does not: which upstream packages are out of bounds, which
// package may know of which, that every package explains itself, and that the staging modules of Kubernetes are all pinned.
//
// It has no use at run time. The rules are the tables in rules.go, and its test applies them to the whole module.
// Imports are read with go/parser, so files under every build tag are seen and nothing has to be compiled.
package arch

import (
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// File is what the rules look at in one Go file.
type File struct {
	Path    string // from the root of the module, with slashes
	Package string
	Imports []string
	Doc     string // the package comment
	Tag     string // the expression of the go:build line
}

// Dir is the directory of the file; "." is the root of the module.
func (f File) Dir() string { return path.Dir(f.Path) }

// Tree is the Go code of a module, without tests: rules are about what is built into the server.
type Tree struct {
	Module string // the module's path
	Files  []File
}

// Load parses all Go files below root, a module's root directory, except tests, testdata, hidden directories and modules
// inside the module.
func Load(root fs.FS) (*Tree, error) {
	gomod, err := fs.ReadFile(root, "go.mod")
	if err != nil {
		return nil, err
	}
	found := regexp.MustCompile(`(?m)^module\s+(\S+)`).FindSubmatch(gomod)
	if found == nil {
		return nil, fmt.Errorf("go.mod does not name its module")
	}
	tree := &Tree{Module: string(found[1])}
	err = fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name != "." && notOurs(root, name) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		file, err := parse(root, name)
		tree.Files = append(tree.Files, file)
		return err
	})
	return tree, err
}

// notOurs reports whether the go command would leave the directory out of ./... as well.
func notOurs(root fs.FS, dir string) bool {
	base := path.Base(dir)
	if base == "testdata" || base == "vendor" || base[0] == '.' || base[0] == '_' {
		return true
	}
	_, err := fs.Stat(root, path.Join(dir, "go.mod"))
	return err == nil
}

func parse(root fs.FS, name string) (File, error) {
	src, err := fs.ReadFile(root, name)
	if err != nil {
		return File{}, err
	}
	syntax, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return File{}, err
	}
	file := File{Path: name, Package: syntax.Name.Name, Doc: syntax.Doc.Text(), Tag: buildTag(syntax)}
	for _, spec := range syntax.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return File{}, fmt.Errorf("%s: import %s: %w", name, spec.Path.Value, err)
		}
		file.Imports = append(file.Imports, imported)
	}
	return file, nil
}

func buildTag(syntax *ast.File) string {
	for _, group := range syntax.Comments {
		for _, comment := range group.List {
			if comment.Pos() < syntax.Package && constraint.IsGoBuild(comment.Text) {
				return strings.TrimSpace(strings.TrimPrefix(comment.Text, "//go:build"))
			}
		}
	}
	return ""
}

// matches reports whether an import path, or a package directory, falls under a pattern: the path itself, or with "/..." at
// its end the path and everything below. "*" stands for one element. (It is the pattern of the go command but for the "*".)
func matches(pattern, name string) bool {
	pattern, below := strings.CutSuffix(pattern, "/...")
	want, got := strings.Split(pattern, "/"), strings.Split(name, "/")
	if len(got) < len(want) || len(got) > len(want) && !below {
		return false
	}
	for i := range want {
		if want[i] != "*" && want[i] != got[i] {
			return false
		}
	}
	return true
}

// CheckForbidden returns a line for every import of a forbidden package, and for every exception that is not needed or has no
// reason: a list of exceptions that only grows says nothing any more.
func (t *Tree) CheckForbidden(rules []Forbidden, exceptions []Exception) []string {
	var problems []string
	used := make([]bool, len(exceptions))
	excepted := func(file File, imported string) bool {
		i := slices.IndexFunc(exceptions, func(e Exception) bool { return e.Dir == file.Dir() && e.Import == imported })
		if i >= 0 {
			used[i] = true
		}
		return i >= 0
	}
	for _, file := range t.Files {
		if file.Tag == "pins" {
			continue // never built
		}
		for _, imported := range file.Imports {
			for _, rule := range rules {
				if matches(rule.Import, imported) && !excepted(file, imported) {
					problems = append(problems, fmt.Sprintf("%s imports %s: %s", file.Path, imported, rule.Reason))
				}
			}
		}
	}
	for i, e := range exceptions {
		if !used[i] {
			problems = append(problems, fmt.Sprintf("the exception for %s in %s is not needed: remove it", e.Import, e.Dir))
		}
		if e.Reason == "" {
			problems = append(problems, fmt.Sprintf("the exception for %s in %s has no reason", e.Import, e.Dir))
		}
	}
	return problems
}

// CheckLayers returns a line for every package that a layer reaches and must not, directly or through other packages of the
// module. Paths of the module are written without the module's own path in the rules.
func (t *Tree) CheckLayers(layers []Layer) []string {
	imports := map[string][]string{} // by directory
	for _, file := range t.Files {
		imports[file.Dir()] = append(imports[file.Dir()], file.Imports...)
	}
	var problems []string
	for _, layer := range layers {
		for dir := range imports {
			if matches(layer.Dirs, dir) {
				problems = append(problems, t.checkLayer(layer, imports, dir)...)
			}
		}
	}
	slices.Sort(problems)
	return slices.Compact(problems)
}

func (t *Tree) checkLayer(layer Layer, imports map[string][]string, start string) []string {
	var problems []string
	via := map[string]string{start: start} // how a directory was reached
	for queue := []string{start}; len(queue) > 0; queue = queue[1:] {
		dir := queue[0]
		for _, imported := range imports[dir] {
			name, ours := strings.CutPrefix(imported, t.Module+"/")
			forbidden := func(pattern string) bool { return matches(pattern, name) }
			if slices.ContainsFunc(layer.Forbidden, forbidden) && !(ours && matches(layer.Dirs, name)) {
				problems = append(problems, fmt.Sprintf("%s imports %s: %s", via[dir], name, layer.Reason))
			}
			if _, seen := via[name]; ours && !seen {
				via[name] = via[dir] + " imports " + name + ", which"
				queue = append(queue, name)
			}
		}
	}
	return problems
}

// CheckComments returns a line for every package without a package comment of at least one sentence, or with one in more than
// one file or in a file where nobody looks for it.
func (t *Tree) CheckComments() []string {
	byDir := map[string][]File{}
	for _, file := range t.Files {
		byDir[file.Dir()] = append(byDir[file.Dir()], file)
	}
	var problems []string
	for dir, files := range byDir {
		if problem := checkComment(files); problem != "" {
			problems = append(problems, dir+": "+problem)
		}
	}
	slices.Sort(problems)
	return problems
}

func checkComment(files []File) string {
	documented := slices.DeleteFunc(slices.Clone(files), func(f File) bool { return f.Doc == "" })
	if len(documented) == 0 {
		return "the package has no package comment"
	}
	if len(documented) > 1 {
		return "the package comment is in more than one file: " + documented[0].Path + ", " + documented[1].Path
	}
	file := documented[0]
	places := []string{"doc.go", file.Package + ".go", path.Base(file.Dir()) + ".go"}
	if !slices.Contains(places, path.Base(file.Path)) {
		return fmt.Sprintf("the package comment is in %s and belongs into %s", path.Base(file.Path), strings.Join(places[:2], " or "))
	}
	first, _, _ := strings.Cut(file.Doc, "\n\n")
	first = strings.TrimSpace(first)
	if len(strings.Fields(first)) < 5 || !strings.ContainsAny(first[len(first)-1:], ".:") {
		return fmt.Sprintf("the package comment does not begin with a sentence: %q", first)
	}
	if begin := "Package " + file.Package + " "; file.Package != "main" && !strings.HasPrefix(first, begin) {
		return fmt.Sprintf("the package comment does not begin with %q", begin)
	}
	return ""
}

var (
	stagingModule = regexp.MustCompile(`(?m)^\s*(?:require\s+)?(k8s\.io/\S+)\s+v0\.0\.0\s*(?://.*)?$`)
	requirement   = regexp.MustCompile(`(?m)^\s*(?:require\s+)?(k8s\.io/\S+)\s+(v\S+)`)
)

// CheckPins returns a line for every staging module of Kubernetes, which is one that upstreamMod (the go.mod of
// k8s.io/kubernetes) requires at v0.0.0, that ourMod does not require at the version that belongs to the release, or that no
// file under the build tag pins imports. See package pins for why.
func (t *Tree) CheckPins(upstreamMod, ourMod []byte, release string) []string {
	var pinned []string
	for _, file := range t.Files {
		if file.Tag == "pins" {
			pinned = append(pinned, file.Imports...)
		}
	}
	versions := map[string]string{}
	for _, found := range requirement.FindAllSubmatch(ourMod, -1) {
		versions[string(found[1])] = string(found[2])
	}
	staging := stagingModule.FindAllSubmatch(upstreamMod, -1)
	if len(staging) == 0 {
		return []string{"go.mod of k8s.io/kubernetes requires no module at v0.0.0: are staging modules marked in another way now?"}
	}
	want := strings.Replace(release, "v1.", "v0.", 1)
	var problems []string
	for _, found := range staging {
		module := string(found[1])
		if got := versions[module]; got != want {
			problems = append(problems, fmt.Sprintf("go.mod requires %s at %q, and %s of Kubernetes needs %s: go get %s@%s",
				module, got, release, want, module, want))
		}
		if !slices.ContainsFunc(pinned, func(p string) bool { return matches(module+"/...", p) }) {
			problems = append(problems, fmt.Sprintf("no file under the build tag pins imports a package of %s: "+
				"add one to internal/pins/pins.go, or go mod tidy drops the module", module))
		}
	}
	return problems
}

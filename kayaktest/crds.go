package kayaktest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	yamlstream "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

// install brings in what a test wants to find.
func (s *Server) install(ctx context.Context, o *options) error {
	documents, err := readAll(o.crdPaths)
	if err != nil {
		return err
	}
	crds := slices.Clone(o.crds)
	for _, document := range documents {
		if crds, err = addDocument(crds, document, "CustomResourceDefinition", apiextensionsv1.SchemeGroupVersion.String()); err != nil {
			return err
		}
	}
	if o.webhooks != nil {
		if s.webhooks, err = newWebhookServer(s.t, o.webhooks.Handler); err != nil {
			return err
		}
		s.webhooks.convert(crds)
	}
	if err := installCRDs(ctx, s.Config(), crds); err != nil {
		return err
	}
	if o.webhooks == nil {
		return nil
	}
	return s.webhooks.install(ctx, s.Config(), o.webhooks)
}

// document is one object in a file.
type document struct {
	path string
	data []byte
	metav1.TypeMeta
}

// readAll reads the objects in files, and in the YAML and JSON files of directories.
func readAll(paths []string) ([]document, error) {
	var all []document
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		files := []string{path}
		if info.IsDir() {
			files = nil
			entries, err := os.ReadDir(path)
			if err != nil {
				return nil, err
			}
			for _, entry := range entries {
				if slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(entry.Name())) {
					files = append(files, filepath.Join(path, entry.Name()))
				}
			}
		}
		for _, file := range files {
			documents, err := readFile(file)
			if err != nil {
				return nil, err
			}
			all = append(all, documents...)
		}
	}
	return all, nil
}

func readFile(path string) ([]document, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var documents []document
	reader := yamlstream.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		data, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return documents, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		d := document{path: path, data: data}
		if err := yaml.Unmarshal(data, &d.TypeMeta); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		documents = append(documents, d)
	}
}

// addDocument adds the object of a document to a list, if it is of the kind.
func addDocument[T any](list []*T, d document, kind, apiVersion string) ([]*T, error) {
	if d.Kind != kind {
		return list, nil
	}
	if d.APIVersion != apiVersion {
		return nil, fmt.Errorf("%s: a %s of %s; Kubernetes has only %s", d.path, kind, d.APIVersion, apiVersion)
	}
	object := new(T)
	if err := yaml.UnmarshalStrict(d.data, object); err != nil {
		return nil, fmt.Errorf("%s: %w", d.path, err)
	}
	return append(list, object), nil
}

// installCRDs creates or updates the definitions and waits until they can be used.
func installCRDs(ctx context.Context, config *rest.Config, crds []*apiextensionsv1.CustomResourceDefinition) error {
	if len(crds) == 0 {
		return nil
	}
	client, err := crdclient.NewForConfig(config)
	if err != nil {
		return err
	}
	pending := map[string]*apiextensionsv1.CustomResourceDefinition{}
	for _, crd := range crds {
		if err := applyCRD(ctx, client.CustomResourceDefinitions(), crd); err != nil {
			return fmt.Errorf("cannot install the CustomResourceDefinition %s: %w", crd.Name, err)
		}
		pending[crd.Name] = crd
	}
	if err := established(ctx, client.CustomResourceDefinitions(), pending); err != nil {
		return err
	}
	for _, crd := range crds {
		if err := served(ctx, client.RESTClient(), crd); err != nil {
			return err
		}
	}
	return nil
}

func applyCRD(ctx context.Context, client crdclient.CustomResourceDefinitionInterface, crd *apiextensionsv1.CustomResourceDefinition) error {
	_, err := client.Create(ctx, crd, metav1.CreateOptions{})
	for apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err) {
		var existing *apiextensionsv1.CustomResourceDefinition
		if existing, err = client.Get(ctx, crd.Name, metav1.GetOptions{}); err != nil {
			return err
		}
		changed := crd.DeepCopy()
		changed.ResourceVersion = existing.ResourceVersion
		_, err = client.Update(ctx, changed, metav1.UpdateOptions{})
	}
	return err
}

// established waits until all definitions are, or one cannot be. It empties the map.
func established(ctx context.Context, client crdclient.CustomResourceDefinitionInterface,
	pending map[string]*apiextensionsv1.CustomResourceDefinition) error {
	for len(pending) > 0 {
		events, err := client.Watch(ctx, metav1.ListOptions{})
		if err != nil {
			return notEstablished(pending, err)
		}
		for event := range events.ResultChan() {
			crd, ok := event.Object.(*apiextensionsv1.CustomResourceDefinition)
			if !ok || pending[crd.Name] == nil {
				continue
			}
			pending[crd.Name] = crd
			if isTrue(crd, apiextensionsv1.Established) {
				delete(pending, crd.Name)
			} else if c := condition(crd, apiextensionsv1.NamesAccepted); c != nil && c.Status == apiextensionsv1.ConditionFalse {
				events.Stop()
				return fmt.Errorf("the CustomResourceDefinition %s cannot be established: %s", crd.Name, c.Message)
			}
			if len(pending) == 0 {
				break
			}
		}
		events.Stop()
		if ctx.Err() != nil && len(pending) > 0 {
			return notEstablished(pending, ctx.Err())
		}
	}
	return nil
}

func notEstablished(pending map[string]*apiextensionsv1.CustomResourceDefinition, err error) error {
	return fmt.Errorf("waiting until CustomResourceDefinitions are established (%s): %w",
		strings.Join(slices.Sorted(maps.Keys(pending)), ", "), err)
}

func isTrue(crd *apiextensionsv1.CustomResourceDefinition, t apiextensionsv1.CustomResourceDefinitionConditionType) bool {
	c := condition(crd, t)
	return c != nil && c.Status == apiextensionsv1.ConditionTrue
}

func condition(crd *apiextensionsv1.CustomResourceDefinition,
	t apiextensionsv1.CustomResourceDefinitionConditionType) *apiextensionsv1.CustomResourceDefinitionCondition {
	for i, c := range crd.Status.Conditions {
		if c.Type == t {
			return &crd.Status.Conditions[i]
		}
	}
	return nil
}

// servedInterval is how often it is looked whether an established resource is served: that follows at once.
const servedInterval = 2 * time.Millisecond

// served waits until the resource is there in all its versions: a server may establish it a moment before it serves it.
func served(ctx context.Context, client rest.Interface, crd *apiextensionsv1.CustomResourceDefinition) error {
	for _, version := range crd.Spec.Versions {
		for version.Served {
			var code int
			result := client.Get().AbsPath("apis", crd.Spec.Group, version.Name, crd.Spec.Names.Plural).
				Param("limit", "1").Do(ctx).StatusCode(&code)
			if code != 0 && code != http.StatusNotFound && code != http.StatusServiceUnavailable {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("the CustomResourceDefinition %s is established but not served: %w", crd.Name,
					errors.Join(ctx.Err(), result.Error()))
			case <-time.After(servedInterval):
			}
		}
	}
	return nil
}

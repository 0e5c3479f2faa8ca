package custom

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresource"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresource/tableconvertor"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// compiler makes of a definition what its objects need, when they need it: the definition itself is read from the state's record
// again, so nothing of its schemas is held until then. What has not been used for a while is let go (Registry.Sweep).
type compiler struct {
	registry   *Registry
	definition *definition
	current    atomic.Pointer[compiled]
	mu         sync.Mutex // held to make current
}

// compiled is what there is at the moment. Its parts are made when they are first needed.
type compiled struct {
	used       atomic.Bool // since the last sweep
	written    atomic.Bool // what writes need is made, or being made
	definition *apiextensionsv1.CustomResourceDefinition
	schemas    func() (*schemas, error)
	types      func() (managedfields.TypeConverter, error)

	mu       sync.Mutex
	versions map[string]*compiledVersion
	kept     map[string]any
}

// schemas are the schemas of all versions, and the ways between them.
type schemas struct {
	groupKind       schema.GroupKind
	preserveUnknown bool
	structural      map[string]*structuralschema.Structural
	shapes          map[string]*shape
	// convertor may change what it converts, safeConvertor does not.
	convertor, safeConvertor runtime.ObjectConvertor
}

// compiledVersion is what writes and tables of one version need.
type compiledVersion struct {
	strategy upstream
	status   rest.RESTUpdateStrategy
	columns  rest.TableConvertor
}

var errSchema = errors.New("the server could not properly serve the CR schema")

// get returns what is compiled, as empty as it may be.
func (c *compiler) get() (*compiled, error) {
	if have := c.current.Load(); have != nil {
		if !have.used.Load() {
			have.used.Store(true)
		}
		return have, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if have := c.current.Load(); have != nil {
		return have, nil
	}
	crd, err := c.registry.read(c.definition)
	if err != nil {
		return nil, err
	}
	have := &compiled{definition: crd, versions: map[string]*compiledVersion{}, kept: map[string]any{}}
	have.schemas = sync.OnceValues(func() (*schemas, error) { return c.compileSchemas(crd) })
	have.types = sync.OnceValues(func() (managedfields.TypeConverter, error) { return compileTypes(crd) })
	have.used.Store(true)
	c.current.Store(have)
	return have, nil
}

// sweep lets go of what has not been used since the last call.
func (c *compiler) sweep() {
	if have := c.current.Load(); have != nil && !have.used.Swap(false) {
		c.current.CompareAndSwap(have, nil)
	}
}

func (c *compiler) schemas() (*schemas, error) {
	have, err := c.get()
	if err != nil {
		return nil, err
	}
	return have.schemas()
}

func (c *compiler) types() (managedfields.TypeConverter, error) {
	have, err := c.get()
	if err != nil {
		return nil, err
	}
	return have.types()
}

// ready begins, beside the first write of an object, to make all that writes need: it is needed one after the other.
func (c *compiler) ready(version string) {
	have, err := c.get()
	if err != nil || have.written.Load() || have.written.Swap(true) {
		return
	}
	go func() { _, _ = c.version(version) }()
	go func() { _, _ = have.types() }()
}

func (c *compiler) keep(name string, make func() (any, error)) (any, error) {
	have, err := c.get()
	if err != nil {
		return nil, err
	}
	have.mu.Lock()
	kept, ok := have.kept[name]
	have.mu.Unlock()
	if ok {
		return kept, nil
	}
	if kept, err = make(); err != nil { // twice at worst
		return nil, err
	}
	have.mu.Lock()
	defer have.mu.Unlock()
	have.kept[name] = kept
	return kept, nil
}

func (c *compiler) version(name string) (*compiledVersion, error) {
	have, err := c.get()
	if err != nil {
		return nil, err
	}
	have.mu.Lock()
	defer have.mu.Unlock() // while it is compiled as well: once is enough work
	if v := have.versions[name]; v != nil {
		return v, nil
	}
	s, err := have.schemas()
	if err != nil {
		return nil, err
	}
	v, err := c.compileVersion(have.definition, s, name)
	if err == nil {
		have.versions[name] = v
	}
	return v, err
}

// compileSchemas is the part of upstream's getOrCreateServingInfoFor that is about all versions
// (apiextensions-apiserver/pkg/apiserver/customresource_handler.go).
func (c *compiler) compileSchemas(crd *apiextensionsv1.CustomResourceDefinition) (*schemas, error) {
	s := &schemas{
		groupKind:       schema.GroupKind{Group: crd.Spec.Group, Kind: crd.Status.AcceptedNames.Kind},
		preserveUnknown: crd.Spec.PreserveUnknownFields,
		structural:      map[string]*structuralschema.Structural{},
		shapes:          map[string]*shape{},
	}
	for _, v := range crd.Spec.Versions {
		internal, err := internalSchema(crd, v.Name)
		if err != nil {
			return nil, err
		}
		if internal == nil {
			continue
		}
		structural, err := structuralschema.NewStructural(internal.OpenAPIV3Schema)
		if err != nil && !crd.Spec.PreserveUnknownFields {
			return nil, errSchema
		}
		if !crd.Spec.PreserveUnknownFields {
			structural = structural.DeepCopy() // its defaults are the definition's
			if err := defaulting.PruneDefaults(structural); err != nil {
				return nil, errSchema
			}
			s.shapes[v.Name] = newRootShape(structural)
		}
		s.structural[v.Name] = structural
	}
	var err error
	s.safeConvertor, s.convertor, err = c.registry.converters.NewConverter(crd)
	return s, err
}

func internalSchema(crd *apiextensionsv1.CustomResourceDefinition, version string) (*apiextensions.CustomResourceValidation, error) {
	validation, err := apihelpers.GetSchemaForVersion(crd, version)
	if err != nil || validation == nil {
		return nil, err
	}
	internal := &apiextensions.CustomResourceValidation{}
	err = apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(validation, internal, nil)
	if err != nil {
		return nil, fmt.Errorf("failed converting CRD validation to internal version: %v", err)
	}
	return internal, nil
}

// compileVersion is the part that is about one version.
func (c *compiler) compileVersion(crd *apiextensionsv1.CustomResourceDefinition, s *schemas, name string) (*compiledVersion, error) {
	var version *apiextensionsv1.CustomResourceDefinitionVersion
	for i := range crd.Spec.Versions {
		if crd.Spec.Versions[i].Name == name {
			version = &crd.Spec.Versions[i]
		}
	}
	if version == nil {
		return nil, fmt.Errorf("version %s not found in apiextensionsv1.CustomResourceDefinition: %v", name, crd.Name)
	}
	internal, err := internalSchema(crd, name)
	if err != nil {
		return nil, err
	}
	var properties *apiextensions.JSONSchemaProps
	if internal != nil {
		properties = internal.OpenAPIV3Schema
	}
	validator, err := newValidator(properties)
	if err != nil {
		return nil, err
	}
	var status *apiextensions.CustomResourceSubresourceStatus
	var statusValidator validation.SchemaValidator
	var scale *apiextensions.CustomResourceSubresourceScale
	if sub := version.Subresources; sub != nil && sub.Status != nil {
		status = &apiextensions.CustomResourceSubresourceStatus{}
		if properties != nil {
			if of, ok := properties.Properties["status"]; ok {
				if statusValidator, err = newValidator(&of); err != nil {
					return nil, err
				}
			}
		}
	}
	if sub := version.Subresources; sub != nil && sub.Scale != nil {
		scale = &apiextensions.CustomResourceSubresourceScale{}
		err := apiextensionsv1.Convert_v1_CustomResourceSubresourceScale_To_apiextensions_CustomResourceSubresourceScale(sub.Scale, scale, nil)
		if err != nil {
			return nil, err
		}
	}
	gvk := schema.GroupVersionKind{Group: crd.Spec.Group, Version: name, Kind: crd.Status.AcceptedNames.Kind}
	strategy := customresource.NewStrategy(objects{}, crd.Spec.Scope == apiextensionsv1.NamespaceScoped, gvk,
		validator, statusValidator, s.structural[name], status, scale, version.SelectableFields)
	printed := version.AdditionalPrinterColumns
	if len(printed) == 0 {
		printed = []apiextensionsv1.CustomResourceColumnDefinition{ageColumn()}
	}
	columns, err := tableconvertor.New(printed)
	if err != nil {
		c.registry.log.Warn("custom resource definition has an invalid printer specification, using the default", "name", crd.Name, "error", err)
	}
	return &compiledVersion{strategy: strategy, status: customresource.NewStatusStrategy(strategy), columns: columns}, nil
}

// compileTypes works out what managed fields must know (customresource_handler.go, buildOpenAPIModelsForApply). A schema that
// cannot be published has its types deduced from the objects.
func compileTypes(crd *apiextensionsv1.CustomResourceDefinition) (managedfields.TypeConverter, error) {
	models := map[string]*spec.Schema{}
	for _, v := range crd.Spec.Versions {
		document, err := builder.BuildOpenAPIV3(crd, v.Name, builder.Options{})
		if err != nil {
			return managedfields.NewDeducedTypeConverter(), nil
		}
		addModels(models, document)
	}
	return managedfields.NewTypeConverter(models, crd.Spec.PreserveUnknownFields)
}

func addModels(models map[string]*spec.Schema, document *spec3.OpenAPI) {
	for name, model := range document.Components.Schemas {
		models[name] = model
	}
}

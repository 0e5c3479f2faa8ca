package verb

import (
	"context"

	"k8s.io/apimachinery/pkg/api/operation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
)

// Most strategies validate declaratively as well: by functions that upstream generates for the versioned types. For that upstream
// copies the object, and in an update the old one, to convert it, though nobody changes it, and makes up the name of a metric in
// case something is wrong. Here the object is converted without a copy and validated by the same functions; only if there is
// anything to be said, by them or by what was validated before, upstream does it all over, and says it.

// declarative is what a strategy's declarative validation comes to.
type declarative struct {
	rest.DeclarativeValidationStrategy
	scheme    *runtime.Scheme
	convertor runtime.ObjectConvertor
	version   schema.GroupVersion
	// subresources is what of the object is written: none, or one.
	subresources []string
}

// createStrategy and updateStrategy are a strategy with its declarative validation replaced.
type (
	createStrategy struct {
		rest.RESTCreateStrategy
		declarative
	}
	updateStrategy struct {
		rest.RESTUpdateStrategy
		declarative
	}
)

// creating is the strategy of a create, for rest.BeforeCreate.
func (c *Call) creating() rest.RESTCreateStrategy {
	if d, ok := c.declarative(c.Resource.Create); ok {
		return createStrategy{c.Resource.Create, d}
	}
	return c.Resource.Create
}

// updating is a strategy of an update, for rest.BeforeUpdate.
func (c *Call) updating(strategy rest.RESTUpdateStrategy) rest.RESTUpdateStrategy {
	if d, ok := c.declarative(strategy); ok {
		return updateStrategy{strategy, d}
	}
	return strategy
}

// declarative tells whether a strategy validates declaratively, in the version of the request and by the scheme that converts.
func (c *Call) declarative(strategy any) (declarative, bool) {
	validates, ok := strategy.(rest.DeclarativeValidationStrategy)
	if !ok || c.Sub != nil && c.Sub.Face != nil {
		return declarative{}, false
	}
	scheme, ok := c.Resource.Codec.Convertor.(*runtime.Scheme)
	d := declarative{
		DeclarativeValidationStrategy: validates, scheme: scheme, convertor: c.Resource.Codec.Sharing(),
		version: schema.GroupVersion{Group: c.Info.APIGroup, Version: c.Info.APIVersion},
	}
	if c.Info.Subresource != "" {
		d.subresources = []string{c.Info.Subresource}
	}
	return d, ok
}

func (d declarative) ValidateDeclaratively(ctx context.Context, obj, old runtime.Object, errs field.ErrorList, op operation.Type, config rest.DeclarativeValidationConfig) field.ErrorList {
	if len(errs) == 0 && config.SubresourceGVKMapper == nil && d.valid(ctx, obj, old, op, config) {
		return errs
	}
	return d.DeclarativeValidationStrategy.ValidateDeclaratively(ctx, obj, old, errs, op, config)
}

// valid reports whether there is nothing to say. Upstream recovers from panics of what it generates, and says so.
func (d declarative) valid(ctx context.Context, obj, old runtime.Object, op operation.Type, config rest.DeclarativeValidationConfig) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	versioned, err := d.convertor.ConvertToVersion(obj, d.version)
	if err != nil {
		return false
	}
	if op == operation.Create {
		return len(d.scheme.Validate(ctx, config.Options, versioned, d.subresources...)) == 0
	}
	before, err := d.convertor.ConvertToVersion(old, d.version)
	if err != nil {
		return false
	}
	return len(d.scheme.ValidateUpdate(ctx, config.Options, versioned, before, d.subresources...)) == 0
}

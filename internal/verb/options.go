package verb

import (
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// parameters decodes the query into options.
func (c *Call) parameters(options runtime.Object) error {
	if len(c.Query) == 0 {
		return nil
	}
	err := metainternalversion.ParameterCodec.DecodeParameters(c.Query, metav1.SchemeGroupVersion, options)
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	return nil
}

// optionsType is the type that options have for admission, whose webhooks get to see them.
func optionsType(name string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: metav1.SchemeGroupVersion.String(), Kind: name}
}

// invalidOptions is the error of options of a kind that are not valid, nil if they are.
func invalidOptions(kind string, errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: kind}, "", errs)
}

func (c *Call) createOptions() (*metav1.CreateOptions, error) {
	options := &metav1.CreateOptions{}
	if err := c.parameters(options); err != nil {
		return nil, err
	}
	options.TypeMeta = optionsType("CreateOptions")
	return options, invalidOptions(options.Kind, metav1validation.ValidateCreateOptions(options))
}

func (c *Call) updateOptions() (*metav1.UpdateOptions, error) {
	options := &metav1.UpdateOptions{}
	if err := c.parameters(options); err != nil {
		return nil, err
	}
	options.TypeMeta = optionsType("UpdateOptions")
	return options, invalidOptions(options.Kind, metav1validation.ValidateUpdateOptions(options))
}

func (c *Call) patchOptions(patch types.PatchType) (*metav1.PatchOptions, error) {
	options := &metav1.PatchOptions{}
	if err := c.parameters(options); err != nil {
		return nil, err
	}
	options.TypeMeta = optionsType("PatchOptions")
	return options, invalidOptions(options.Kind, metav1validation.ValidatePatchOptions(options, patch))
}

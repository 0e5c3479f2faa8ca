package admission

import (
	"context"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/admission"

	"github.com/kayak-k8s/kayak/internal/informers"
)

// lazy is a plugin that has nothing to do before there is a configuration: webhooks and policies. It is made when the first one is
// there, because making it takes CEL's environment, some megabytes and milliseconds.
type lazy struct {
	*admission.Handler
	// configurations are what it goes by.
	configurations *informers.Informer
	// static says that there are configurations in files: then it is never idle.
	static bool
	get    func() (admission.Interface, error)
}

func newLazy(configurations *informers.Informer, build func() (admission.Interface, error), operations ...admission.Operation) lazy {
	return lazy{
		Handler: admission.NewHandler(operations...), configurations: configurations, get: sync.OnceValues(build),
	}
}

// idle reports whether there is nothing to do.
func (l *lazy) idle(admission.Attributes) bool { return !l.static && l.configurations.Empty("") }

// plugin returns the plugin, which knows of every configuration that the state has.
func (l *lazy) plugin() (admission.Interface, error) {
	plugin, err := l.get()
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	l.configurations.Refresh()
	return plugin, nil
}

// lazyMutator and lazyValidator are lazy plugins of one sort each, because a chain goes by what a plugin implements.
type (
	lazyMutator   struct{ lazy }
	lazyValidator struct{ lazy }
)

var (
	_ admission.MutationInterface   = &lazyMutator{}
	_ admission.ValidationInterface = &lazyValidator{}
)

func (l *lazyMutator) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	plugin, err := l.plugin()
	if err != nil {
		return err
	}
	return plugin.(admission.MutationInterface).Admit(ctx, a, o)
}

func (l *lazyValidator) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	plugin, err := l.plugin()
	if err != nil {
		return err
	}
	return plugin.(admission.ValidationInterface).Validate(ctx, a, o)
}

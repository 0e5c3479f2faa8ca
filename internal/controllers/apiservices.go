package controllers

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration"
	"k8s.io/kube-aggregator/pkg/controllers/autoregister"

	"github.com/kayak-k8s/kayak/internal/controllers/premade"
	"github.com/kayak-k8s/kayak/internal/discovery"
	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/verb"
)

// APIServices registers what this server serves itself: every group and version has an APIService that names no service. Those of
// built-in APIs are made when a server starts; who deletes one is right until the next start. Those of custom resources follow the
// definitions. What somebody has registered without the label kube-aggregator.kubernetes.io/automanaged is theirs
// (k8s.io/kube-aggregator/pkg/controllers/autoregister, k8s.io/kubernetes/pkg/controlplane/controller/crdregistration).
type APIServices struct {
	API *verb.API
	// Resource is apiregistration.k8s.io/v1 apiservices; without it nothing is done.
	Resource *kind.Resource
	// BuiltIn are the kinds that are served without custom resources.
	BuiltIn *kind.Table
	// Served are those that are served now, with a channel that is closed when there are others.
	Served func() (*kind.Table, <-chan struct{})
	// Premade are objects that need not be made, nil for none.
	Premade *premade.Set
	Logger  *slog.Logger
}

// The values of the label: who keeps an APIService, and for how long.
const (
	managedOnStart = "onstart"
	managedAlways  = "true"
)

// Name is what errors call it.
func (c *APIServices) Name() string { return "registration of APIs" }

// Ensure registers what is served when the server starts.
func (c *APIServices) Ensure(ctx context.Context) error {
	if c.Resource == nil {
		return nil
	}
	ctx = verb.AsServer(ctx)
	snapshot, err := c.API.State.Consistent(ctx)
	if err != nil {
		return err
	}
	wanted := map[string]schema.GroupVersion{}
	var prepared []*premade.Object
	for _, gv := range c.builtIn() {
		o := c.premade(gv)
		if o == nil {
			wanted[apiServiceName(gv)] = gv
			continue
		}
		prepared = append(prepared, o)
	}
	prefix := c.Resource.KeyPrefix("", "")
	for _, o := range writeReady(ctx, c.API, snapshot, prepared) {
		name := strings.TrimPrefix(o.Key, prefix)
		wanted[name] = c.groupVersion(name)
	}
	keep := map[string]bool{}
	for _, o := range prepared {
		keep[strings.TrimPrefix(o.Key, prefix)] = true
	}
	if len(wanted) > 0 {
		if snapshot, err = c.API.State.Consistent(ctx); err != nil {
			return err
		}
	}
	return c.sync(ctx, snapshot, managedOnStart, wanted, keep)
}

// Run follows the definitions of custom resources, until ctx ends.
func (c *APIServices) Run(ctx context.Context) {
	if c.Resource == nil {
		return
	}
	ctx = verb.AsServer(ctx)
	builtIn := map[string]bool{}
	for _, gv := range c.builtIn() {
		builtIn[apiServiceName(gv)] = true
	}
	for ctx.Err() == nil {
		table, changed := c.Served()
		snapshot, err := c.API.State.Consistent(ctx)
		if err == nil {
			err = c.sync(ctx, snapshot, managedAlways, c.custom(table), builtIn)
		}
		if err != nil && ctx.Err() == nil {
			c.Logger.Warn("cannot register the APIs of custom resources, will try again when there are others", "error", err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// sync makes, changes and deletes those APIServices that are managed in a way, but for those to keep as they are.
func (c *APIServices) sync(ctx context.Context, snapshot *state.Snapshot, managed string, wanted map[string]schema.GroupVersion,
	keep map[string]bool) error {
	var errs []error
	for name, gv := range wanted {
		errs = append(errs, c.register(ctx, snapshot, managed, name, gv))
	}
	for name := range names(snapshot, c.API.Root, c.Resource) {
		if _, ok := wanted[name]; ok || keep[name] {
			continue
		}
		errs = append(errs, c.unregister(ctx, snapshot, managed, name))
	}
	return errors.Join(errs...)
}

func (c *APIServices) register(ctx context.Context, snapshot *state.Snapshot, managed, name string, gv schema.GroupVersion) error {
	existing, err := stored(snapshot, c.API.Root, c.Resource, "", name)
	if err != nil {
		return err
	}
	spec := apiServiceSpec(gv)
	if existing == nil {
		_, err := c.API.CreateObjectWith(ctx, c.Resource, "", &apiregistration.APIService{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{autoregister.AutoRegisterManagedLabel: managed}}, Spec: spec,
		}, &metav1.CreateOptions{FieldManager: asKubeAPIServer})
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	}
	service := existing.(*apiregistration.APIService)
	if !isManaged(service) || service.Spec.Service == nil && sameAPIService(service.Spec, spec) {
		return nil
	}
	_, err = c.API.UpdateObject(ctx, c.Resource, "", "", name, &metav1.UpdateOptions{FieldManager: asKubeAPIServer},
		func(obj runtime.Object) (runtime.Object, error) {
			if service := obj.(*apiregistration.APIService); isManaged(service) {
				service.Spec = spec
			}
			return obj, nil
		})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// unregister deletes an APIService that is managed in this way and that nobody wants.
func (c *APIServices) unregister(ctx context.Context, snapshot *state.Snapshot, managed, name string) error {
	existing, err := stored(snapshot, c.API.Root, c.Resource, "", name)
	if err != nil || existing == nil {
		return err
	}
	service := existing.(*apiregistration.APIService)
	if service.Labels[autoregister.AutoRegisterManagedLabel] != managed {
		return nil
	}
	_, _, err = c.API.DeleteObject(ctx, c.Resource, "", name, &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &service.UID}})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

func isManaged(service *apiregistration.APIService) bool {
	label := service.Labels[autoregister.AutoRegisterManagedLabel]
	return label == managedOnStart || label == managedAlways
}

func sameAPIService(a, b apiregistration.APIServiceSpec) bool {
	return a.Group == b.Group && a.Version == b.Version && a.GroupPriorityMinimum == b.GroupPriorityMinimum &&
		a.VersionPriority == b.VersionPriority && len(a.CABundle) == 0 && !a.InsecureSkipTLSVerify
}

func apiServiceName(gv schema.GroupVersion) string { return gv.Version + "." + gv.Group }

// groupVersion is what a name of an APIService says.
func (c *APIServices) groupVersion(name string) schema.GroupVersion {
	version, group, _ := strings.Cut(name, ".")
	return schema.GroupVersion{Group: group, Version: version}
}

func apiServiceSpec(gv schema.GroupVersion) apiregistration.APIServiceSpec {
	group, version := discovery.Priorities(gv)
	return apiregistration.APIServiceSpec{Group: gv.Group, Version: gv.Version, GroupPriorityMinimum: group, VersionPriority: version}
}

func (c *APIServices) premade(gv schema.GroupVersion) *premade.Object {
	if c.Premade == nil {
		return nil
	}
	return c.Premade.Find(c.Resource.KeyPrefix("", "") + apiServiceName(gv))
}

// builtIn are the groups and versions that have an APIService from the start. The one that APIServices are in is the aggregator's own
// and has none.
func (c *APIServices) builtIn() (list []schema.GroupVersion) {
	for _, group := range c.BuiltIn.Groups() {
		if group == apiregistration.GroupName {
			continue
		}
		for _, version := range c.BuiltIn.GroupVersions(group) {
			list = append(list, schema.GroupVersion{Group: group, Version: version})
		}
	}
	return list
}

// custom are the groups and versions of custom resources that are not built-in ones.
func (c *APIServices) custom(table *kind.Table) map[string]schema.GroupVersion {
	wanted := map[string]schema.GroupVersion{}
	for _, group := range table.Groups() {
		for _, version := range table.GroupVersions(group) {
			if len(c.BuiltIn.Version(group, version)) == 0 {
				gv := schema.GroupVersion{Group: group, Version: version}
				wanted[apiServiceName(gv)] = gv
			}
		}
	}
	return wanted
}

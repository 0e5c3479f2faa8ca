// Package actions is what is done to objects that is neither a plain write nor a stream: binding a pod to a node, evicting it,
// making a token for a service account; and the kinds that are questions and not objects: reviews, component statuses.
//
// They are implementations of upstream's contracts (rest.NamedCreater, rest.Creater, rest.Getter, rest.Lister), a file each,
// which package verb calls once a request is decoded and admitted. What they read and write goes through the verbs for the
// server's own use (verb/inside.go), so a write here is the same conditional write as every other, and nothing here needs a
// lock. Behaviour and texts are those of kubernetes/pkg/registry/core/{pod,serviceaccount}/storage, which cannot be used as they
// are because they are made around upstream's own store. Reviews and component statuses are upstream's, with probes of our own.
//
// [Storages] makes all of them, under the names by which the table of kinds wants them.
package actions

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	api "k8s.io/kubernetes/pkg/apis/core"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/verb"
)

// Options are what the actions need of the server. What they lead to is used only while requests are served, so it may be
// filled in after the actions have been made. Everything must be safe for concurrent use.
type Options struct {
	// API reads and writes objects. Required.
	API *verb.API
	// Resource finds a kind in one of its versions, whether that is served or not. Required.
	Resource func(group, version, resource string) *kind.Resource
	// Tokens says how tokens for service accounts are made. Without a Generator there are none, as in upstream.
	Tokens TokenOptions
	// Authenticator judges the tokens that are reviewed, for Audiences if a review names none. nil finds none of them valid.
	Authenticator authenticator.Request
	Audiences     []string
	// Authorizer answers access reviews; nil leaves them out. RuleResolver lists what a user may do; nil leaves that review out.
	Authorizer   authorizer.UnconditionalAuthorizer
	RuleResolver authorizer.RuleResolver
	// Stores say whether the stores are well: the componentstatuses etcd-0, etcd-1, ...
	Stores []func(context.Context) error
}

// Storages returns the actions by group and resource ("", "pods/eviction"), as the table of kinds wants them.
func Storages(o Options) map[schema.GroupResource]rest.Storage {
	objects := objects{api: o.API, resource: o.Resource}
	bind := &binding{objects}
	storages := map[schema.GroupResource]rest.Storage{
		api.Resource("bindings"):          &legacyBinding{bind},
		api.Resource("pods/binding"):      bind,
		api.Resource("pods/eviction"):     &eviction{objects},
		api.Resource("componentstatuses"): newComponentStatuses(components(o.Stores)),
	}
	if o.Tokens.Generator != nil {
		storages[api.Resource("serviceaccounts/token")] = newToken(objects, o.Tokens)
	}
	addReviews(storages, o)
	return storages
}

// objects are those of other kinds that an action works on.
type objects struct {
	api      *verb.API
	resource func(group, version, resource string) *kind.Resource
}

// find finds a kind that every server has.
func (o objects) find(group, resource string) (*kind.Resource, error) {
	if r := o.resource(group, "v1", resource); r != nil {
		return r, nil
	}
	return nil, apierrors.NewInternalError(fmt.Errorf("there are no %s", resource))
}

// unadmitted is the API without admission: upstream's actions ask it about themselves, and not about the writes that they turn
// into.
func (o objects) unadmitted() *verb.API {
	unadmitted := *o.api
	unadmitted.Admission = nil
	return &unadmitted
}

// get reads an object of the core group as it is now. namespace is empty for kinds without.
func (o objects) get(ctx context.Context, resource, namespace, name string) (runtime.Object, error) {
	r, err := o.find("", resource)
	if err != nil {
		return nil, err
	}
	if err := checkName(name); err != nil {
		return nil, err
	}
	return o.api.GetObject(ctx, r, namespace, name)
}

// namespaceOf returns the namespace of the request.
func namespaceOf(ctx context.Context) (string, error) {
	if namespace := genericrequest.NamespaceValue(ctx); namespace != "" {
		return namespace, nil
	}
	return "", apierrors.NewBadRequest("Namespace parameter required.")
}

// checkName refuses a name that cannot be a part of a key (CVE-2015-5305), in the words of upstream's NamespaceKeyFunc. Names in
// paths have been checked; this is for those in bodies.
func checkName(name string) error {
	if name == "" {
		return apierrors.NewBadRequest("Name parameter required.")
	}
	if msgs := content.IsPathSegmentName(name); len(msgs) > 0 {
		return apierrors.NewBadRequest(fmt.Sprintf("Name parameter invalid: %q: %s", name, strings.Join(msgs, ";")))
	}
	return nil
}

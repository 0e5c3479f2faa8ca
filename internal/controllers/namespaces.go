package controllers

import (
	"context"
	"errors"
	"log/slog"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	api "k8s.io/kubernetes/pkg/apis/core"

	"github.com/kayak-k8s/kayak/internal/controllers/premade"
	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/verb"
)

// SystemNamespaces creates the namespaces that every cluster has, and creates them again when somebody has deleted them
// (k8s.io/kubernetes/pkg/controlplane/controller/systemnamespaces).
type SystemNamespaces struct {
	API      *verb.API
	Resource *kind.Resource
	// Premade are objects that need not be made, nil for none.
	Premade *premade.Set
	Logger  *slog.Logger
}

var systemNamespaces = []string{
	metav1.NamespaceSystem, metav1.NamespacePublic, api.NamespaceNodeLease, metav1.NamespaceDefault,
}

// systemNamespacesEvery is how often they are looked at.
const systemNamespacesEvery = time.Minute

// Name is what errors call it.
func (c *SystemNamespaces) Name() string { return "system namespaces" }

// Ensure creates those that are missing.
func (c *SystemNamespaces) Ensure(ctx context.Context) error {
	ctx = genericrequest.WithUser(ctx, &user.DefaultInfo{Name: user.APIServerUser, Groups: []string{user.SystemPrivilegedGroup}})
	snapshot, err := c.API.State.Consistent(ctx)
	if err != nil {
		return err
	}
	if ready(ctx, c.API, c.Premade, snapshot, c.Resource) {
		return nil
	}
	var errs []error
	for _, name := range systemNamespaces {
		if snapshot.Get(c.Resource.Key(c.API.Root, "", name)) != nil {
			continue
		}
		_, err := c.API.CreateObject(ctx, c.Resource, name, &api.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Run ensures them again and again, until ctx ends.
func (c *SystemNamespaces) Run(ctx context.Context) {
	ticker := time.NewTicker(systemNamespacesEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if err := c.Ensure(ctx); err != nil && ctx.Err() == nil {
			c.Logger.Warn("cannot create the system namespaces", "error", err)
		}
	}
}

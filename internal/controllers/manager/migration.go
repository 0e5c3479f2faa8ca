package manager

import (
	"context"
	"errors"
	"sync"

	crds "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	migrationclient "k8s.io/client-go/kubernetes/typed/storagemigration/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/cmd/kube-controller-manager/names"
	svm "k8s.io/kubernetes/pkg/controller/storageversionmigrator"
)

// migrationOnly is a client for storagemigration.k8s.io, and for nothing else.
type migrationOnly struct {
	kubernetes.Interface // nil
	v1                   *migrationclient.StoragemigrationV1Client
}

func (c *migrationOnly) StoragemigrationV1() migrationclient.StoragemigrationV1Interface { return c.v1 }

// newMigrator makes the controllers that have the objects of a kind written anew, so that all are stored in its storage version, and
// then say so in a definition's status.storedVersions. Few clusters ever want that: there is nothing of them before the first
// StorageVersionMigration.
func newMigrator(_ context.Context, e *environment) (func(context.Context), error) {
	if e.graph == nil {
		return nil, errors.New("storage version migrator requires garbage collector")
	}
	migrations := e.factory.Storagemigration().V1().StorageVersionMigrations()
	wanted := make(chan struct{})
	_, err := migrations.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func() func(any) {
			once := sync.OnceFunc(func() { close(wanted) })
			return func(any) { once() }
		}(),
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) {
		select {
		case <-wanted:
		case <-ctx.Done():
			return
		}
		if err := e.migrate(ctx); err != nil {
			e.Logger.Error("cannot start a controller", "controller", names.StorageVersionMigratorController, "error", err)
		}
	}, nil
}

// migrate runs upstream's three controllers, of which each does a part (kube-controller-manager/app/storageversionmigrator.go).
func (e *environment) migrate(ctx context.Context) error {
	config := e.config(names.StorageVersionMigratorController)
	clients, err := newMigrationClients(config)
	if err != nil {
		return err
	}
	migrations := e.factory.Storagemigration().V1().StorageVersionMigrations()
	rewriting := svm.NewSVMController(ctx, clients.core, clients.dynamic, migrations, names.StorageVersionMigratorController,
		mapper{e.Kinds}, e.graph)
	beginning := svm.NewResourceVersionController(ctx, clients.core, clients.discovery, clients.metadata, migrations, mapper{e.Kinds})
	ordering := svm.NewCustomResourceController(ctx, clients.core, migrations, clients.definitions.CustomResourceDefinitions())
	together(func() { rewriting.Run(ctx) }, func() { beginning.Run(ctx) }, func() { ordering.Run(ctx) })
	return nil
}

// migrationClients are what these controllers work with.
type migrationClients struct {
	core        *migrationOnly
	dynamic     *dynamic.DynamicClient
	discovery   *discovery.DiscoveryClient
	metadata    metadata.Interface
	definitions *crds.ApiextensionsV1Client
}

func newMigrationClients(config *rest.Config) (*migrationClients, error) {
	v1, err1 := migrationclient.NewForConfig(config)
	objects, err2 := dynamic.NewForConfig(config)
	found, err3 := discovery.NewDiscoveryClientForConfig(config)
	heads, err4 := metadata.NewForConfig(config)
	defined, err5 := crds.NewForConfig(config)
	return &migrationClients{&migrationOnly{v1: v1}, objects, found, heads, defined}, errors.Join(err1, err2, err3, err4, err5)
}

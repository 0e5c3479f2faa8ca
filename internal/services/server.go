package services

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/networking"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/store"
	"github.com/kayak-k8s/kayak/internal/verb"
)

// Server is the Objects of a server. An Allocator is part of the table of kinds, and the verbs need the table: so it may be
// made with an empty Server, which is connected before anything is asked of it.
type Server struct {
	API                                 *verb.API
	Services, IPAddresses, ServiceCIDRs *kind.Resource
}

// Connect tells it what to work on. table is of all kinds that are stored, whether they are served or not.
func (s *Server) Connect(api *verb.API, table *kind.Table) {
	s.API = api
	s.Services = table.Resource("", "v1", "services")
	s.IPAddresses = table.Resource("networking.k8s.io", "v1", "ipaddresses")
	s.ServiceCIDRs = table.Resource("networking.k8s.io", "v1", "servicecidrs")
}

var _ Objects = (*Server)(nil)

// ListServiceCIDRs implements Objects.
func (s *Server) ListServiceCIDRs(context.Context) ([]*networking.ServiceCIDR, error) {
	return list[*networking.ServiceCIDR](s.API.State.Snapshot(), s.API.Root, s.ServiceCIDRs.Kind)
}

// HasIPAddress implements Objects.
func (s *Server) HasIPAddress(name string) bool {
	return s.API.State.Snapshot().Get(s.IPAddresses.Key(s.API.Root, "", name)) != nil
}

// GetIPAddress implements Objects. It asks the store, so that it works as long as there is one, when the server stops, too.
func (s *Server) GetIPAddress(ctx context.Context, name string) (*networking.IPAddress, error) {
	kv, err := s.API.Store.Get(ctx, s.IPAddresses.Key(s.API.Root, "", name))
	if errors.Is(err, store.ErrNotFound) {
		return nil, apierrors.NewNotFound(s.IPAddresses.GroupResource(), name)
	}
	if err != nil {
		return nil, err
	}
	obj, err := s.IPAddresses.Decode(kv.Value, kv.Revision)
	if err != nil {
		return nil, err
	}
	return obj.(*networking.IPAddress), nil
}

// CreateIPAddress implements Objects.
func (s *Server) CreateIPAddress(ctx context.Context, obj *networking.IPAddress) error {
	_, err := s.API.CreateObject(verb.AsServer(ctx), s.IPAddresses, "", obj)
	return err
}

// DeleteIPAddress implements Objects.
func (s *Server) DeleteIPAddress(ctx context.Context, obj *networking.IPAddress) error {
	_, _, err := s.API.DeleteObject(verb.AsServer(ctx), s.IPAddresses, "", obj.Name, &metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &obj.UID, ResourceVersion: &obj.ResourceVersion},
	})
	return err
}

// Snapshot implements Objects.
func (s *Server) Snapshot(ctx context.Context) (*Snapshot, error) {
	snapshot, err := s.API.State.Consistent(ctx)
	if err != nil {
		return nil, err
	}
	services, err := list[*api.Service](snapshot, s.API.Root, s.Services.Kind)
	if err != nil {
		return nil, err
	}
	addresses, err := list[*networking.IPAddress](snapshot, s.API.Root, s.IPAddresses.Kind)
	if err != nil {
		return nil, err
	}
	cidrs, err := list[*networking.ServiceCIDR](snapshot, s.API.Root, s.ServiceCIDRs.Kind)
	return &Snapshot{Services: services, IPAddresses: addresses, ServiceCIDRs: cidrs}, err
}

func list[T runtime.Object](snapshot *state.Snapshot, root string, k *kind.Kind) (objects []T, err error) {
	snapshot.Ascend(k.KeyPrefix(root, ""), "", func(record *state.Record) bool {
		var obj runtime.Object
		if obj, err = k.Decode(record.Value(), record.Revision); err == nil {
			objects = append(objects, obj.(T))
		}
		return err == nil
	})
	return objects, err
}

// CreateServiceCIDR implements Objects.
func (s *Server) CreateServiceCIDR(ctx context.Context, obj *networking.ServiceCIDR) (*networking.ServiceCIDR, error) {
	created, err := s.API.CreateObject(verb.AsServer(ctx), s.ServiceCIDRs, "", obj)
	if err != nil {
		return nil, err
	}
	return created.(*networking.ServiceCIDR), nil
}

// UpdateServiceCIDR implements Objects.
func (s *Server) UpdateServiceCIDR(ctx context.Context, obj *networking.ServiceCIDR) error {
	return s.update(ctx, "", obj)
}

// UpdateServiceCIDRStatus implements Objects.
func (s *Server) UpdateServiceCIDRStatus(ctx context.Context, obj *networking.ServiceCIDR) error {
	return s.update(ctx, "status", obj)
}

func (s *Server) update(ctx context.Context, sub string, obj *networking.ServiceCIDR) error {
	_, err := s.API.UpdateObject(verb.AsServer(ctx), s.ServiceCIDRs, sub, "", obj.Name, &metav1.UpdateOptions{},
		func(runtime.Object) (runtime.Object, error) { return obj.DeepCopy(), nil })
	return err
}

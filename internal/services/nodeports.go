package services

import (
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiservice "k8s.io/kubernetes/pkg/api/service"
	api "k8s.io/kubernetes/pkg/apis/core"
)

// nodePorts takes the node ports that the Service needs and does not have, and finds those that it no longer needs.
func (w *write) nodePorts(old *api.Service) error {
	if old == nil {
		old = &api.Service{}
		if mayHaveNodePorts(w.svc) {
			if err := w.createNodePorts(); err != nil {
				return err
			}
		}
	} else if mayHaveNodePorts(w.svc) {
		if err := w.updateNodePorts(old); err != nil {
			return err
		}
	} else if mayHaveNodePorts(old) {
		for _, port := range nodePorts(old) {
			w.ports.ReleaseDeferred(port)
		}
	}
	had, needs := apiservice.NeedsHealthCheck(old), apiservice.NeedsHealthCheck(w.svc)
	switch {
	case needs && !had:
		return w.takeHealthCheckPort()
	case had && !needs:
		w.ports.ReleaseDeferred(int(old.Spec.HealthCheckNodePort))
	}
	return nil
}

// createNodePorts takes the node ports of a new Service. Ports of the same number, of TCP and UDP that is, share a node port
// unless they ask for different ones.
func (w *write) createNodePorts() error {
	ports := w.svc.Spec.Ports
	shared := map[int32]int32{} // by port
	for i := range ports {
		port := &ports[i]
		if port.NodePort == 0 && !needsNodePorts(w.svc) {
			continue
		}
		var err error
		switch share := shared[port.Port]; {
		case share == 0:
			if asked := askedNodePort(ports, port.Port); asked != 0 {
				port.NodePort, err = asked, w.takeNodePort(i, asked)
			} else {
				port.NodePort, err = w.takeAnyNodePort()
			}
			shared[port.Port] = port.NodePort
		case port.NodePort == 0:
			port.NodePort = share
		case port.NodePort != share:
			err = w.takeNodePort(i, port.NodePort)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// askedNodePort returns the first node port that is asked for for a port, or 0.
func askedNodePort(ports []api.ServicePort, number int32) int32 {
	i := slices.IndexFunc(ports, func(p api.ServicePort) bool { return p.Port == number && p.NodePort != 0 })
	if i < 0 {
		return 0
	}
	return ports[i].NodePort
}

// updateNodePorts takes the node ports that an existing Service does not have yet.
func (w *write) updateNodePorts(old *api.Service) error {
	type protocolPort struct {
		protocol api.Protocol
		port     int32
	}
	mine := map[int]bool{}
	for _, port := range nodePorts(old) {
		mine[port] = true
	}
	seen := map[protocolPort]bool{}
	for i := range w.svc.Spec.Ports {
		port := &w.svc.Spec.Ports[i]
		if port.NodePort == 0 && !needsNodePorts(w.svc) {
			continue
		}
		var err error
		if port.NodePort == 0 {
			port.NodePort, err = w.takeAnyNodePort()
		} else if !mine[int(port.NodePort)] {
			err = w.takeNodePort(i, port.NodePort)
			mine[int(port.NodePort)] = true
		}
		if err != nil {
			return err
		}
		key := protocolPort{port.Protocol, port.NodePort}
		if seen[key] {
			return fmt.Errorf("duplicate nodePort: %v", key)
		}
		seen[key] = true
	}
	now := nodePorts(w.svc)
	for _, port := range nodePorts(old) {
		if !slices.Contains(now, port) {
			w.ports.ReleaseDeferred(port)
		}
	}
	return nil
}

func (w *write) takeNodePort(i int, port int32) error {
	if err := w.ports.Allocate(int(port)); err != nil {
		return invalid(w.svc, field.Invalid(specPath.Child("ports").Index(i).Child("nodePort"), port, err.Error()))
	}
	return nil
}

func (w *write) takeAnyNodePort() (int32, error) {
	port, err := w.ports.AllocateNext()
	if err != nil {
		return 0, apierrors.NewInternalError(fmt.Errorf("failed to allocate a nodePort: %w", err))
	}
	return int32(port), nil
}

func (w *write) takeHealthCheckPort() error {
	asked := w.svc.Spec.HealthCheckNodePort
	if asked != 0 {
		if err := w.ports.Allocate(int(asked)); err != nil {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate requested HealthCheck NodePort %v: %w", asked, err))
		}
		return nil
	}
	port, err := w.ports.AllocateNext()
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("failed to allocate a HealthCheck NodePort %v: %w", port, err))
	}
	w.svc.Spec.HealthCheckNodePort = int32(port)
	return nil
}

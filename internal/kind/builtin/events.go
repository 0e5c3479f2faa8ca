package builtin

import (
	corev1 "k8s.io/api/core/v1"
	api "k8s.io/kubernetes/pkg/apis/core"
	eventsapi "k8s.io/kubernetes/pkg/apis/events"
	"k8s.io/kubernetes/pkg/registry/core/event"

	"github.com/kayak-k8s/kayak/internal/kind"
)

// events has the same Events as the core group, in another form: they have the same keys, the same stored form and the same
// internal type (kubernetes/pkg/kubeapiserver/default_storage_factory_builder.go, AddCohabitatingResources).
func (b *builder) events() []*kind.Kind {
	return inGroup(eventsapi.GroupName, &kind.Kind{
		Resource: "events", Name: "Event", ShortNames: []string{"ev"}, Namespaced: true,
		Storage: corev1.SchemeGroupVersion,
		New:     object[api.Event], NewList: object[api.EventList],
		Create: event.Strategy, Update: event.Strategy,
		Attributes: event.GetAttrs,
		Fields:     eventFields(),
		EventTTL:   true,
	})
}

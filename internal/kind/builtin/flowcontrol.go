package builtin

import (
	"k8s.io/kubernetes/pkg/apis/flowcontrol"
	"k8s.io/kubernetes/pkg/registry/flowcontrol/flowschema"
	"k8s.io/kubernetes/pkg/registry/flowcontrol/prioritylevelconfiguration"

	"github.com/kayak-k8s/kayak/internal/kind"
)

func (b *builder) flowcontrol() []*kind.Kind {
	return inGroup(flowcontrol.GroupName, &kind.Kind{
		Resource: "flowschemas", Name: "FlowSchema",
		New: object[flowcontrol.FlowSchema], NewList: object[flowcontrol.FlowSchemaList],
		Create: flowschema.Strategy, Update: flowschema.Strategy,
		Subresources: subresources(status(flowschema.StatusStrategy)),
	}, &kind.Kind{
		Resource: "prioritylevelconfigurations", Name: "PriorityLevelConfiguration",
		New: object[flowcontrol.PriorityLevelConfiguration], NewList: object[flowcontrol.PriorityLevelConfigurationList],
		Create: prioritylevelconfiguration.Strategy, Update: prioritylevelconfiguration.Strategy,
		Subresources: subresources(status(prioritylevelconfiguration.StatusStrategy)),
	})
}

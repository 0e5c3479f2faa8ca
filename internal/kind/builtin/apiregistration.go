package builtin

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metatable "k8s.io/apimachinery/pkg/api/meta/table"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/install"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/registry/apiservice"

	"github.com/kayak-k8s/kayak/internal/kind"
)

// apiregistrationScheme is made once: nobody changes it any more.
var apiregistrationScheme = sync.OnceValue(func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	return withMeta(scheme)
})

// apiregistration has a scheme of its own in upstream, and its objects are stored as JSON.
func (b *builder) apiregistration() []*kind.Kind {
	scheme := apiregistrationScheme()
	codecs := serializer.NewCodecFactory(scheme)
	strategy := apiservice.NewStrategy(scheme)
	stored := apiregistrationv1.SchemeGroupVersion
	return inGroup(apiregistration.GroupName, &kind.Kind{
		Resource: "apiservices", Name: "APIService", Categories: []string{"api-extensions"},
		Prefix: "apiregistration.k8s.io/apiservices",
		Codec:  newCodec(scheme, codecs, runtime.ContentTypeJSON, stored, stored.Group),
		New:    object[apiregistration.APIService], NewList: object[apiregistration.APIServiceList],
		Create: strategy, Update: strategy,
		JSON:         true,
		Attributes:   apiservice.GetAttrs,
		Columns:      apiServiceColumns{},
		Subresources: subresources(status(apiservice.NewStatusStrategy(scheme))),
	})
}

// apiServiceColumns are those of kubectl get apiservices (kube-aggregator/pkg/registry/apiservice/etcd/etcd.go).
type apiServiceColumns struct{}

func (apiServiceColumns) ConvertToTable(_ context.Context, obj runtime.Object, _ runtime.Object) (*metav1.Table, error) {
	docs := metav1.ObjectMeta{}.SwaggerDoc()
	table := &metav1.Table{ColumnDefinitions: []metav1.TableColumnDefinition{
		{Name: "Name", Type: "string", Format: "name", Description: docs["name"]},
		{Name: "Service", Type: "string", Description: "The reference to the service that hosts this API endpoint."},
		{Name: "Available", Type: "string", Description: "Whether this service is available."},
		{Name: "Age", Type: "string", Description: docs["creationTimestamp"]},
	}}
	if list, err := meta.ListAccessor(obj); err == nil {
		table.ResourceVersion = list.GetResourceVersion()
		table.Continue = list.GetContinue()
		table.RemainingItemCount = list.GetRemainingItemCount()
	} else if single, err := meta.CommonAccessor(obj); err == nil {
		table.ResourceVersion = single.GetResourceVersion()
	}
	rows, err := metatable.MetaToTableRow(obj, func(obj runtime.Object, _ metav1.Object, name, age string) ([]any, error) {
		service := obj.(*apiregistration.APIService)
		return []any{name, whereServed(service), availability(service), age}, nil
	})
	table.Rows = rows
	return table, err
}

func whereServed(service *apiregistration.APIService) string {
	if reference := service.Spec.Service; reference != nil {
		return fmt.Sprintf("%s/%s", reference.Namespace, reference.Name)
	}
	return "Local"
}

func availability(service *apiregistration.APIService) string {
	for _, condition := range service.Status.Conditions {
		if condition.Type != apiregistration.Available {
			continue
		}
		if condition.Status != apiregistration.ConditionTrue && condition.Reason != "" {
			return fmt.Sprintf("%s (%s)", condition.Status, condition.Reason)
		}
		return string(condition.Status)
	}
	return string(apiregistration.ConditionUnknown)
}

package builtin

import (
	storagemigrationv1beta1 "k8s.io/api/storagemigration/v1beta1"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	svm "k8s.io/kubernetes/pkg/apis/storagemigration"
	"k8s.io/kubernetes/pkg/features"
	"k8s.io/kubernetes/pkg/registry/storagemigration/storagemigration"

	"github.com/kayak-k8s/kayak/internal/kind"
)

func (b *builder) storagemigration() []*kind.Kind {
	return inGroup(svm.GroupName, gated(utilfeature.DefaultFeatureGate.Enabled(features.StorageVersionMigrator), &kind.Kind{
		Resource: "storageversionmigrations", Name: "StorageVersionMigration",
		Storage: storagemigrationv1beta1.SchemeGroupVersion, Versions: []string{"v1", "v1beta1"},
		New: object[svm.StorageVersionMigration], NewList: object[svm.StorageVersionMigrationList],
		Create: storagemigration.Strategy, Update: storagemigration.Strategy,
		Subresources: subresources(status(storagemigration.StatusStrategy)),
	})...)
}

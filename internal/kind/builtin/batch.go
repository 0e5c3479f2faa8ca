package builtin

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/kubernetes/pkg/apis/batch"
	"k8s.io/kubernetes/pkg/registry/batch/cronjob"
	"k8s.io/kubernetes/pkg/registry/batch/job"

	"github.com/kayak-k8s/kayak/internal/kind"
)

func (b *builder) batch() []*kind.Kind {
	return inGroup(batch.GroupName, &kind.Kind{
		Resource: "cronjobs", Name: "CronJob", ShortNames: []string{"cj"}, Categories: []string{"all"}, Namespaced: true,
		New: object[batch.CronJob], NewList: object[batch.CronJobList],
		Create: cronjob.Strategy, Update: cronjob.Strategy,
		Subresources: subresources(status(cronjob.StatusStrategy)),
	}, &kind.Kind{
		Resource: "jobs", Name: "Job", Categories: []string{"all"}, Namespaced: true,
		New: object[batch.Job], NewList: object[batch.JobList],
		Create: job.Strategy, Update: job.Strategy,
		Attributes:   job.GetAttrs,
		Fields:       []kind.Field{{Name: "status.successful", Paths: []string{"status.succeeded"}, Zero: "0"}},
		Subresources: subresources(status(job.StatusStrategy)),
		BeforeDelete: warnOfOrphanedPods,
	})
}

// warnOfOrphanedPods tells who deletes jobs without saying what is to become of their pods that these stay, which batch/v1 does
// for reasons of compatibility (registry/batch/job/storage/storage.go).
func warnOfOrphanedPods(ctx context.Context, _ string, options *metav1.DeleteOptions) error {
	//lint:ignore SA1019 clients still send orphanDependents
	unsaid := options.PropagationPolicy == nil && options.OrphanDependents == nil
	if unsaid && job.Strategy.DefaultGarbageCollectionPolicy(ctx) == rest.OrphanDependents {
		warning.AddWarning(ctx, "", "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to "+
			"remove them or set propagationPolicy=Orphan to suppress this warning")
	}
	return nil
}

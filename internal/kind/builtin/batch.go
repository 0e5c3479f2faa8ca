package builtin

import (
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
	})
}

package manager

import (
	"context"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/kubernetes/pkg/controller/cronjob"
	"k8s.io/kubernetes/pkg/controller/daemon"
	"k8s.io/kubernetes/pkg/controller/deployment"
	"k8s.io/kubernetes/pkg/controller/job"
	"k8s.io/kubernetes/pkg/controller/replicaset"
	"k8s.io/kubernetes/pkg/controller/replication"
	"k8s.io/kubernetes/pkg/controller/statefulset"
	"k8s.io/kubernetes/pkg/controller/ttlafterfinished"
)

// The controllers of workloads. They are off by default: what they make are Pods, which wait for nodes, and who tests a controller
// of their own often wants to play these parts.

// The numbers of workers are kube-controller-manager's.
const (
	workers    = 5
	fewWorkers = 2
)

func newDeployments(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := kubernetes.NewForConfig(e.config("deployment-controller"))
	if err != nil {
		return nil, err
	}
	apps := e.factory.Apps().V1()
	c, err := deployment.NewDeploymentController(ctx, apps.Deployments(), apps.ReplicaSets(), e.factory.Core().V1().Pods(), client)
	return func(ctx context.Context) { c.Run(ctx, workers) }, err
}

func newReplicaSets(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := kubernetes.NewForConfig(e.config("replicaset-controller"))
	if err != nil {
		return nil, err
	}
	c := replicaset.NewReplicaSetController(ctx, e.factory.Apps().V1().ReplicaSets(), e.factory.Core().V1().Pods(), client,
		replicaset.BurstReplicas)
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

func newReplicationControllers(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := kubernetes.NewForConfig(e.config("replication-controller"))
	if err != nil {
		return nil, err
	}
	core := e.factory.Core().V1()
	c := replication.NewReplicationManager(ctx, core.Pods(), core.ReplicationControllers(), client, replication.BurstReplicas)
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

func newStatefulSets(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := kubernetes.NewForConfig(e.config("statefulset-controller"))
	if err != nil {
		return nil, err
	}
	core, apps := e.factory.Core().V1(), e.factory.Apps().V1()
	c := statefulset.NewStatefulSetController(ctx, core.Pods(), apps.StatefulSets(), core.PersistentVolumeClaims(),
		apps.ControllerRevisions(), client)
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

func newDaemonSets(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := kubernetes.NewForConfig(e.config("daemon-set-controller"))
	if err != nil {
		return nil, err
	}
	core, apps := e.factory.Core().V1(), e.factory.Apps().V1()
	c, err := daemon.NewDaemonSetsController(ctx, apps.DaemonSets(), apps.ControllerRevisions(), core.Pods(), core.Nodes(), client,
		flowcontrol.NewBackOff(time.Second, 15*time.Minute))
	return func(ctx context.Context) { c.Run(ctx, fewWorkers) }, err
}

func newJobs(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := kubernetes.NewForConfig(e.config("job-controller"))
	if err != nil {
		return nil, err
	}
	c, err := job.NewController(ctx, client, e.factory.Core().V1().Pods(), e.factory.Batch().V1().Jobs(), nil, nil)
	return func(ctx context.Context) { c.Run(ctx, workers) }, err
}

func newCronJobs(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := kubernetes.NewForConfig(e.config("cronjob-controller"))
	if err != nil {
		return nil, err
	}
	batch := e.factory.Batch().V1()
	c, err := cronjob.NewControllerV2(ctx, batch.Jobs(), batch.CronJobs(), client)
	return func(ctx context.Context) { c.Run(ctx, workers) }, err
}

func newTTLAfterFinished(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := kubernetes.NewForConfig(e.config("ttl-after-finished-controller"))
	if err != nil {
		return nil, err
	}
	c := ttlafterfinished.New(ctx, e.factory.Batch().V1().Jobs(), client)
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

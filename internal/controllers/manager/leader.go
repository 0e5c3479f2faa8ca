package manager

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// leaseName is the Lease in kube-system whose holder runs the controllers.
const leaseName = "kayak-controllers"

// The times are kube-controller-manager's.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// elect runs the controllers whenever this server is the leader, until ctx ends. Who stops lets go of the lease, so that another
// need not wait for its end.
func (m *Manager) elect(ctx context.Context) {
	e := &environment{Options: m.options, requests: ctx}
	client, err := coordinationv1client.NewForConfig(e.config("leader-election-controller"))
	if err != nil {
		m.options.Logger.Error("cannot take part in the election of who runs the controllers", "error", err)
		return
	}
	for ctx.Err() == nil {
		leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
			Lock: &resourcelock.LeaseLock{
				LeaseMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: leaseName}, Client: client,
				LockConfig: resourcelock.ResourceLockConfig{Identity: m.options.Elect},
			},
			LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod, ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: m.run, OnStoppedLeading: func() {}},
		})
	}
}

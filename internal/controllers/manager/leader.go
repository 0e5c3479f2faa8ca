package manager

import (
	"context"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/kayak-k8s/kayak/internal/loopback"
)

// leaseName is the Lease in kube-system whose holder runs the controllers.
const leaseName = "kayak-controllers"

// The times are kube-controller-manager's.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// elect runs the controllers whenever this server is the leader, until ctx ends. Who stops lets go of the lease when its controllers
// have ended, so that another need not wait for the lease's end and two never run them.
func (m *Manager) elect(ctx context.Context) {
	config := loopback.Config(m.options.Handler, &user.DefaultInfo{
		Name: user.APIServerUser, Groups: []string{user.AllAuthenticated, user.SystemPrivilegedGroup},
	})
	config.UserAgent = "kayak/leader-election"
	client, err := coordinationv1client.NewForConfig(config)
	if err != nil {
		m.options.Logger.Error("cannot take part in the election of who runs the controllers", "error", err)
		return
	}
	for ctx.Err() == nil {
		m.stand(ctx, client)
	}
}

// stand is one candidacy: until the lease is lost or ctx ends.
func (m *Manager) stand(ctx context.Context, client coordinationv1client.CoordinationV1Interface) {
	var office sync.Mutex // held while controllers run
	candidate, letGo := context.WithCancel(context.WithoutCancel(ctx))
	defer letGo()
	defer context.AfterFunc(ctx, func() {
		office.Lock()
		defer office.Unlock()
		letGo()
	})()
	lead := func(leading context.Context) {
		office.Lock()
		defer office.Unlock()
		term, end := context.WithCancel(ctx)
		defer end()
		defer context.AfterFunc(leading, end)()
		if leading.Err() == nil && ctx.Err() == nil {
			m.options.Logger.Info("this server runs the controllers from now on", "identity", m.options.Elect)
			m.run(term)
		}
	}
	leaderelection.RunOrDie(candidate, leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: leaseName}, Client: client,
			LockConfig: resourcelock.ResourceLockConfig{Identity: m.options.Elect},
		},
		LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod, ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: lead, OnStoppedLeading: func() {}},
	})
	office.Lock() // who has lost the lease ends before standing again
	defer office.Unlock()
}

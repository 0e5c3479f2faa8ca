package manager

import (
	"context"
	"errors"
	"time"

	"k8s.io/client-go/dynamic"
	informers "k8s.io/client-go/informers/certificates/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/scale"
	"k8s.io/kubernetes/pkg/controller/certificates/approver"
	"k8s.io/kubernetes/pkg/controller/certificates/cleaner"
	"k8s.io/kubernetes/pkg/controller/certificates/signer"
	"k8s.io/kubernetes/pkg/controller/disruption"
)

func newDisruption(ctx context.Context, e *environment) (func(context.Context), error) {
	config := e.config("disruption-controller")
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	resolver := scale.NewDiscoveryScaleKindResolver(client.Discovery())
	scales, err := scale.NewForConfig(config, mapper{e.Kinds}, dynamic.LegacyAPIPathResolverFunc, resolver)
	if err != nil {
		return nil, err
	}
	core, apps := e.factory.Core().V1(), e.factory.Apps().V1()
	c := disruption.NewDisruptionController(ctx, core.Pods(), e.factory.Policy().V1().PodDisruptionBudgets(),
		core.ReplicationControllers(), apps.ReplicaSets(), apps.Deployments(), apps.StatefulSets(), client, mapper{e.Kinds}, scales,
		client.Discovery())
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

func newApproving(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := kubernetes.NewForConfig(e.config("certificate-controller"))
	if err != nil {
		return nil, err
	}
	c := approver.NewCSRApprovingController(ctx, client, e.factory.Certificates().V1().CertificateSigningRequests())
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

// signedFor is how long certificates are valid: kube-controller-manager's --cluster-signing-duration.
const signedFor = 365 * 24 * time.Hour

// newSigning makes the controllers of the four signers that upstream has, all with the server's own authority.
func newSigning(ctx context.Context, e *environment) (func(context.Context), error) {
	if e.SigningCert == "" {
		return nil, errors.New("certificates are signed with the files of the authority, and a server in memory has none")
	}
	client, err := kubernetes.NewForConfig(e.config("certificate-controller"))
	if err != nil {
		return nil, err
	}
	requests := e.factory.Certificates().V1().CertificateSigningRequests()
	var runs []func(context.Context)
	for _, make := range []func(context.Context, kubernetes.Interface, informers.CertificateSigningRequestInformer, string, string,
		time.Duration) (*signer.CSRSigningController, error){
		signer.NewKubeletServingCSRSigningController, signer.NewKubeletClientCSRSigningController,
		signer.NewKubeAPIServerClientCSRSigningController, signer.NewLegacyUnknownCSRSigningController,
	} {
		c, err := make(ctx, client, requests, e.SigningCert, e.SigningKey, signedFor)
		if err != nil {
			return nil, err
		}
		runs = append(runs, func(ctx context.Context) { c.Run(ctx, workers) })
	}
	return func(ctx context.Context) {
		var loops []func()
		for _, run := range runs {
			loops = append(loops, func() { run(ctx) })
		}
		together(loops...)
	}, nil
}

func newCleaner(_ context.Context, e *environment) (func(context.Context), error) {
	client, err := kubernetes.NewForConfig(e.config("certificate-controller"))
	if err != nil {
		return nil, err
	}
	c := cleaner.NewCSRCleanerController(client.CertificatesV1().CertificateSigningRequests(),
		e.factory.Certificates().V1().CertificateSigningRequests())
	return func(ctx context.Context) { c.Run(ctx, 1) }, nil
}

package manager

import (
	"context"
	"errors"
	"os"
	"path/filepath"
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
		return signingFromMemory(ctx, e)
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

// signingFromMemory is newSigning for a server that has no files. Upstream's signer reads its authority from some, so for as long as it
// runs there is a directory with them, which nobody else may read.
func signingFromMemory(ctx context.Context, e *environment) (func(context.Context), error) {
	dir, err := os.MkdirTemp("", "kayak-signing")
	if err != nil {
		return nil, err
	}
	own := *e
	own.SigningCert, own.SigningKey = filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	err = errors.Join(os.WriteFile(own.SigningCert, e.SigningPEM.Cert, 0o600), os.WriteFile(own.SigningKey, e.SigningPEM.Key, 0o600))
	var run func(context.Context)
	if err == nil {
		run, err = newSigning(ctx, &own)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return func(ctx context.Context) {
		defer os.RemoveAll(dir)
		run(ctx)
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

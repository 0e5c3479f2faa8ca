package manager_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/utils/ptr"
)

// A claim that a Pod uses stays until the Pod is gone; a namespace with claims ends.
func TestClaimsAreProtected(t *testing.T) {
	t.Parallel()
	c := start(t)
	claim := func(namespace, name string) {
		t.Helper()
		_, err := c.CoreV1().PersistentVolumeClaims(namespace).Create(c.ctx, &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
			},
		}, metav1.CreateOptions{})
		c.must(err)
	}
	c.namespace("a")
	claim("a", "used")
	claim("a", "unused")
	c.await("the service account comes", func() error {
		_, err := c.CoreV1().ServiceAccounts("a").Get(c.ctx, "default", metav1.GetOptions{})
		return err
	})
	_, err := c.CoreV1().Pods("a").Create(c.ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{
			NodeName: "n", Containers: []corev1.Container{{Name: "c", Image: "i"}},
			Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "used"},
			}}},
		},
	}, metav1.CreateOptions{})
	c.must(err)
	for _, name := range []string{"used", "unused"} {
		c.must(c.CoreV1().PersistentVolumeClaims("a").Delete(c.ctx, name, metav1.DeleteOptions{}))
	}
	left := func(name string) error {
		_, err := c.CoreV1().PersistentVolumeClaims("a").Get(c.ctx, name, metav1.GetOptions{})
		return gone(err)
	}
	c.await("the claim that nobody uses goes", func() error { return left("unused") })
	if left("used") == nil {
		t.Error("a claim in use is gone")
	}
	c.must(c.CoreV1().Pods("a").Delete(c.ctx, "p", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}))
	c.await("the other goes with its Pod", func() error { return left("used") })
	claim("a", "last")
	c.must(c.CoreV1().Namespaces().Delete(c.ctx, "a", metav1.DeleteOptions{}))
	c.await("the namespace goes", func() error {
		_, err := c.CoreV1().Namespaces().Get(c.ctx, "a", metav1.GetOptions{})
		return gone(err)
	})
}

// A server in memory signs certificates too.
func TestCertificatesAreSigned(t *testing.T) {
	t.Parallel()
	c := start(t, "*", "csrapproving", "csrsigning")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	c.must(err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "jane", Organization: []string{"developers"}},
	}, key)
	c.must(err)
	requests := c.CertificatesV1().CertificateSigningRequests()
	made, err := requests.Create(c.ctx, &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "jane"}, Spec: certificatesv1.CertificateSigningRequestSpec{
			Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			SignerName: certificatesv1.KubeAPIServerClientSignerName, Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth},
		},
	}, metav1.CreateOptions{})
	c.must(err)
	made.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "Test",
	}}
	_, err = requests.UpdateApproval(c.ctx, "jane", made, metav1.UpdateOptions{})
	c.must(err)
	c.await("the certificate comes", func() error {
		signed, err := requests.Get(c.ctx, "jane", metav1.GetOptions{})
		if err != nil {
			return err
		}
		block, _ := pem.Decode(signed.Status.Certificate)
		if block == nil {
			return fmt.Errorf("there is none: %v", signed.Status.Conditions)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err == nil && certificate.Subject.CommonName != "jane" {
			err = fmt.Errorf("it is %s's", certificate.Subject)
		}
		return err
	})
}

// The horizontal autoscaler goes by metrics that are custom resources.
func TestAutoscaling(t *testing.T) {
	t.Parallel()
	c := start(t, "*", "horizontalpodautoscaling")
	c.podMetrics("2")
	labels := map[string]string{"app": "a"}
	long := metav1.NewTime(time.Now().Add(-time.Hour))
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{
			Name: "c", Image: "i", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}},
		}}},
	}
	deployment, err := c.AppsV1().Deployments("default").Create(c.ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "a"},
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To[int32](1), Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template},
	}, metav1.CreateOptions{})
	c.must(err)
	deployment.Status.Replicas = 1
	_, err = c.AppsV1().Deployments("default").UpdateStatus(c.ctx, deployment, metav1.UpdateOptions{})
	c.must(err)
	c.await("the service account comes", func() error {
		_, err := c.CoreV1().ServiceAccounts("default").Get(c.ctx, "default", metav1.GetOptions{})
		return err
	})
	pod, err := c.CoreV1().Pods("default").Create(c.ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "a-1", Labels: labels}, Spec: template.Spec,
	}, metav1.CreateOptions{})
	c.must(err)
	pod.Status.Phase, pod.Status.StartTime = corev1.PodRunning, &long
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: long}}
	_, err = c.CoreV1().Pods("default").UpdateStatus(c.ctx, pod, metav1.UpdateOptions{})
	c.must(err)
	_, err = c.AutoscalingV2().HorizontalPodAutoscalers("default").Create(c.ctx, &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: "a"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "a"}, MaxReplicas: 10,
			Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
				Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: ptr.To[int32](50)},
			}}},
		},
	}, metav1.CreateOptions{})
	c.must(err)
	c.awaitFor(time.Minute, "the deployment is scaled", func() error {
		scale, err := c.AppsV1().Deployments("default").GetScale(c.ctx, "a", metav1.GetOptions{})
		if err == nil && scale.Spec.Replicas != 4 {
			hpa, _ := c.AutoscalingV2().HorizontalPodAutoscalers("default").Get(c.ctx, "a", metav1.GetOptions{})
			err = fmt.Errorf("it has %d replicas; %v", scale.Spec.Replicas, hpa.Status.Conditions)
		}
		return err
	})
}

// podMetrics makes the metrics of Pods a custom resource, and says how much CPU the Pod a-1 uses.
func (c *cluster) podMetrics(cpu string) {
	c.Helper()
	definitions, err := crdclient.NewForConfig(c.config)
	c.must(err)
	_, err = definitions.CustomResourceDefinitions().Create(c.ctx, &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{
			Name: "pods.metrics.k8s.io", Annotations: map[string]string{apiextensionsv1.KubeAPIApprovedAnnotation: "unapproved, for a test"},
		},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "metrics.k8s.io", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Kind: "PodMetrics", ListKind: "PodMetricsList", Plural: "pods", Singular: "pod"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1beta1", Served: true, Storage: true, Schema: &apiextensionsv1.CustomResourceValidation{
					OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: ptr.To(true)},
				},
			}},
		},
	}, metav1.CreateOptions{})
	c.must(err)
	objects, err := dynamic.NewForConfig(c.config)
	c.must(err)
	resource := schema.GroupVersionResource{Group: "metrics.k8s.io", Version: "v1beta1", Resource: "pods"}
	_, err = objects.Resource(resource).Namespace("default").Create(c.ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics",
		"metadata":  map[string]any{"name": "a-1", "labels": map[string]any{"app": "a"}},
		"timestamp": time.Now().UTC().Format(time.RFC3339), "window": "30s",
		"containers": []any{map[string]any{"name": "c", "usage": map[string]any{"cpu": cpu, "memory": "1Mi"}}},
	}}, metav1.CreateOptions{})
	c.must(err)
}

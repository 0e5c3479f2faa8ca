package kayak_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	registration "k8s.io/api/admissionregistration/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/kayak-k8s/kayak"
)

// What the default plugins do to nodes, and to pods for the sake of their nodes.
func TestDefaultPluginsOfNodes(t *testing.T) {
	t.Parallel()
	c := client(t, start(t, kayak.Config{}).RESTConfig())
	node, err := c.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: "n", Labels: map[string]string{"topology.kubernetes.io/zone": "z"},
	}}, metav1.CreateOptions{})
	if err != nil || len(node.Spec.Taints) != 1 || node.Spec.Taints[0].Key != "node.kubernetes.io/not-ready" {
		t.Errorf("a new node: %v, taints %v", err, node.Spec.Taints)
	}
	pods := c.CoreV1().Pods("default")
	if _, err := pods.Create(t.Context(), pod("p"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n"}}
	if err := pods.Bind(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if p, err := pods.Get(t.Context(), "p", metav1.GetOptions{}); err != nil || p.Labels["topology.kubernetes.io/zone"] != "z" {
		t.Errorf("a pod on a node: %v, labels %v", err, p.Labels)
	}
	_, err = c.NodeV1().RuntimeClasses().Create(t.Context(), &nodev1.RuntimeClass{
		ObjectMeta: metav1.ObjectMeta{Name: "heavy"}, Handler: "h",
		Overhead:   &nodev1.Overhead{PodFixed: corev1.ResourceList{"cpu": resource.MustParse("250m")}},
		Scheduling: &nodev1.Scheduling{NodeSelector: map[string]string{"heavy": "yes"}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p := pod("heavy")
	p.Spec.RuntimeClassName = ptr.To("heavy")
	p, err = pods.Create(t.Context(), p, metav1.CreateOptions{})
	if err != nil || p.Spec.Overhead.Cpu().String() != "250m" || p.Spec.NodeSelector["heavy"] != "yes" {
		t.Errorf("a pod of a class: %v, overhead %v, selector %v", err, p.Spec.Overhead, p.Spec.NodeSelector)
	}
	p = pod("none")
	p.Spec.RuntimeClassName = ptr.To("none")
	_, err = pods.Create(t.Context(), p, metav1.CreateOptions{})
	forbidden(t, "a class that there is not", err, `pod rejected: RuntimeClass "none" not found`)
}

// Ingresses get the default class, and claims grow only where their class lets them.
func TestDefaultPluginsOfClasses(t *testing.T) {
	t.Parallel()
	c := client(t, start(t, kayak.Config{}).RESTConfig())
	_, err := c.NetworkingV1().IngressClasses().Create(t.Context(), &networkingv1.IngressClass{
		ObjectMeta: metav1.ObjectMeta{Name: "main", Annotations: map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}},
		Spec:       networkingv1.IngressClassSpec{Controller: "example.com/c"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ingress, err := c.NetworkingV1().Ingresses("default").Create(t.Context(), &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Name: "i"},
		Spec: networkingv1.IngressSpec{DefaultBackend: &networkingv1.IngressBackend{
			Service: &networkingv1.IngressServiceBackend{Name: "s", Port: networkingv1.ServiceBackendPort{Number: 80}},
		}},
	}, metav1.CreateOptions{})
	if err != nil || ptr.Deref(ingress.Spec.IngressClassName, "") != "main" {
		t.Errorf("an ingress: %v, %v", err, ingress.Spec.IngressClassName)
	}
	claims := c.CoreV1().PersistentVolumeClaims("default")
	for name, expands := range map[string]bool{"rigid": false, "elastic": true} {
		if _, err := c.StorageV1().StorageClasses().Create(t.Context(), &storagev1.StorageClass{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: "example.com/p", AllowVolumeExpansion: &expands,
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		claim, err := claims.Create(t.Context(), &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: corev1.PersistentVolumeClaimSpec{
				StorageClassName: &name, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, VolumeName: "v",
				Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{"storage": resource.MustParse("1Gi")}},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		claim.Status.Phase = corev1.ClaimBound
		if claim, err = claims.UpdateStatus(t.Context(), claim, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		claim.Spec.Resources.Requests["storage"] = resource.MustParse("2Gi")
		_, err = claims.Update(t.Context(), claim, metav1.UpdateOptions{})
		if expands && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !expands {
			forbidden(t, name, err, "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize")
		}
	}
}

// Who may have certificates for what, and owners that cannot be deleted first.
func TestPluginsThatAskForPermission(t *testing.T) {
	t.Parallel()
	server := startWith(t, nil, "OwnerReferencesPermissionEnforcement")
	admin := client(t, server.RESTConfig())
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	request := func(name string, subject pkix.Name) error {
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject}, key)
		if err != nil {
			t.Fatal(err)
		}
		_, err = admin.CertificatesV1().CertificateSigningRequests().Create(t.Context(), &certificatesv1.CertificateSigningRequest{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: certificatesv1.CertificateSigningRequestSpec{
				Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), SignerName: certificatesv1.KubeAPIServerClientSignerName,
				Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth},
			},
		}, metav1.CreateOptions{})
		return err
	}
	forbidden(t, "a certificate for administrators", request("masters", pkix.Name{CommonName: "x", Organization: []string{"system:masters"}}),
		"use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed")
	if err := request("plain", pkix.Name{CommonName: "x"}); err != nil {
		t.Fatal(err)
	}
	// jane may write all of these objects, and nothing else.
	jane, err := kubernetes.NewForConfig(server.ConfigFor("jane", "system:authenticated"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = admin.RbacV1().ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "writes"},
		Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{"", "certificates.k8s.io"}, Verbs: []string{"*"},
			Resources: []string{"configmaps", "certificatesigningrequests", "certificatesigningrequests/approval", "certificatesigningrequests/status"},
		}},
	}, metav1.CreateOptions{})
	if err == nil {
		_, err = admin.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "writes"},
			Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: "rbac.authorization.k8s.io", Name: "jane"}},
			RoleRef:    rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "writes"},
		}, metav1.CreateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	requests := jane.CertificatesV1().CertificateSigningRequests()
	csr, err := requests.Get(t.Context(), "plain", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	approved := csr.DeepCopy()
	approved.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue}}
	_, err = requests.UpdateApproval(t.Context(), "plain", approved, metav1.UpdateOptions{})
	forbidden(t, "an approval", err, `user not permitted to approve requests with signerName "kubernetes.io/kube-apiserver-client"`)
	csr.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateFailed, Status: corev1.ConditionTrue}}
	_, err = requests.UpdateStatus(t.Context(), csr, metav1.UpdateOptions{})
	forbidden(t, "a refusal", err, `user not permitted to sign requests with signerName "kubernetes.io/kube-apiserver-client"`)
	owned := configMap("owned")
	owned.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "p", UID: "u", BlockOwnerDeletion: ptr.To(true)}}
	_, err = jane.CoreV1().ConfigMaps("default").Create(t.Context(), owned, metav1.CreateOptions{})
	forbidden(t, "an owner", err, "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on")
}

// What a webhook adds, the plugins before it see when they are asked again.
func TestPluginsAreAskedAgainAfterWebhooks(t *testing.T) {
	t.Parallel()
	c := client(t, start(t, kayak.Config{}).RESTConfig())
	_, err := c.CoreV1().LimitRanges("default").Create(t.Context(), &corev1.LimitRange{
		ObjectMeta: metav1.ObjectMeta{Name: "limits"},
		Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
			Type: corev1.LimitTypeContainer, Default: corev1.ResourceList{"cpu": resource.MustParse("500m")},
		}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w := startWebhook(t, func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		var p corev1.Pod
		_ = json.Unmarshal(r.Object.Raw, &p)
		if len(p.Spec.Containers) > 1 {
			return allow(r)
		}
		return patch(`[{"op":"add","path":"/spec/containers/-","value":{"name":"sidecar","image":"s"}}]`)
	})
	configureMutating(t, c, "sidecar", registration.MutatingWebhook{
		Name: "sidecar.example.com", ClientConfig: w.clientConfig("/review"), Rules: rule("", "v1", "pods"),
		SideEffects: ptr.To(registration.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
	})
	p, err := c.CoreV1().Pods("default").Create(t.Context(), pod("p"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, container := range p.Spec.Containers {
		if container.Resources.Limits.Cpu().String() != "500m" {
			t.Errorf("container %s: %v", container.Name, container.Resources)
		}
	}
	if _, n := w.last(); len(p.Spec.Containers) != 2 || n != 1 {
		t.Errorf("%d containers, the webhook was asked %d times", len(p.Spec.Containers), n)
	}
}

// A namespace that another server has acknowledged is there, and one whose deletion it has acknowledged is not for long.
func TestNamespaceLifecycleOnTwoServers(t *testing.T) {
	t.Parallel()
	shared := startEtcd(t)
	a, b := client(t, start(t, shared.config()).RESTConfig()).CoreV1(), client(t, start(t, shared.config()).RESTConfig()).CoreV1()
	for i := range 50 {
		name := fmt.Sprint("n", i)
		if _, err := a.Namespaces().Create(t.Context(), namespaceObject(name), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := b.ConfigMaps(name).Create(t.Context(), configMap("m"), metav1.CreateOptions{}); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
	}
	if err := a.Namespaces().Delete(t.Context(), "n0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Namespaces().Get(t.Context(), "n0", metav1.GetOptions{}); err != nil { // now b has it
		t.Fatal(err)
	}
	_, err := b.ConfigMaps("n0").Create(t.Context(), configMap("late"), metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), "unable to create new content in namespace n0 because it is being terminated") {
		t.Errorf("after the deletion: %v", err)
	}
}

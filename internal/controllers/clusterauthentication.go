package controllers

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	certutil "k8s.io/client-go/util/cert"
	api "k8s.io/kubernetes/pkg/apis/core"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/verb"
)

// ClusterAuthentication keeps the ConfigMap kube-system/extension-apiserver-authentication, by which aggregated servers, and
// kube-controller-manager and kube-scheduler, know whom this one believes
// (k8s.io/kubernetes/pkg/controlplane/controller/clusterauthenticationtrust). Every server of a cluster adds what it knows to it;
// what nobody knows any more stays, until it has expired.
type ClusterAuthentication struct {
	API      *verb.API
	Resource *kind.Resource // configmaps
	// ClientCA has, in PEM, authorities of client certificates; ClientCAFile is a file with more of them, or empty.
	ClientCA     []byte
	ClientCAFile string
	// FrontProxyCAFile has the authorities of the front proxy; empty where there is none.
	FrontProxyCAFile string
	// The headers of the front proxy, and the names that it may have.
	UsernameHeaders, UIDHeaders, GroupHeaders, ExtraHeaderPrefixes, AllowedNames []string
	Logger                                                                       *slog.Logger
}

const (
	clusterAuthenticationName = "extension-apiserver-authentication"
	// clusterAuthenticationEvery is how often it is looked at, and the files are.
	clusterAuthenticationEvery = time.Minute
)

// Name is what errors call it.
func (c *ClusterAuthentication) Name() string { return "ConfigMap " + clusterAuthenticationName }

// Run ensures it again and again, until ctx ends.
func (c *ClusterAuthentication) Run(ctx context.Context) {
	every(ctx, clusterAuthenticationEvery, func() {
		if err := c.Ensure(ctx); err != nil && ctx.Err() == nil {
			c.Logger.Warn("cannot write the ConfigMap "+clusterAuthenticationName, "error", err)
		}
	})
}

// Ensure makes the ConfigMap, or adds to it what is missing.
func (c *ClusterAuthentication) Ensure(ctx context.Context) error {
	ctx = verb.AsServer(ctx)
	snapshot, err := c.API.State.Consistent(ctx)
	if err != nil {
		return err
	}
	obj, err := stored(snapshot, c.API.Root, c.Resource, metav1.NamespaceSystem, clusterAuthenticationName)
	if err != nil {
		return err
	}
	if obj == nil {
		data, err := c.merged(nil)
		if err != nil {
			return err
		}
		_, err = c.API.CreateObjectWith(ctx, c.Resource, metav1.NamespaceSystem, &api.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: clusterAuthenticationName}, Data: data,
		}, &metav1.CreateOptions{FieldManager: asKubeAPIServer})
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
	} else if data, err := c.merged(obj.(*api.ConfigMap).Data); err != nil || maps.Equal(data, obj.(*api.ConfigMap).Data) {
		return err
	}
	_, err = c.API.UpdateObject(ctx, c.Resource, "", metav1.NamespaceSystem, clusterAuthenticationName,
		&metav1.UpdateOptions{FieldManager: asKubeAPIServer}, func(obj runtime.Object) (runtime.Object, error) {
			m := obj.(*api.ConfigMap)
			var err error
			m.Data, err = c.merged(m.Data)
			return m, err
		})
	return err
}

// merged is what the ConfigMap ought to hold, given what it holds.
func (c *ClusterAuthentication) merged(old map[string]string) (map[string]string, error) {
	data := map[string]string{}
	clients, err := bundle(old["client-ca-file"], c.ClientCA, c.ClientCAFile)
	if err != nil {
		return nil, err
	}
	proxies, err := bundle(old["requestheader-client-ca-file"], nil, c.FrontProxyCAFile)
	if err != nil {
		return nil, err
	}
	if clients != "" {
		data["client-ca-file"] = clients
	}
	if proxies == "" {
		return data, nil
	}
	data["requestheader-client-ca-file"] = proxies
	for key, own := range map[string][]string{
		"requestheader-username-headers": c.UsernameHeaders, "requestheader-uid-headers": c.UIDHeaders,
		"requestheader-group-headers": c.GroupHeaders, "requestheader-extra-headers-prefix": c.ExtraHeaderPrefixes,
		"requestheader-allowed-names": c.AllowedNames,
	} {
		list, err := union(old[key], own)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		if list != "[]" || key != "requestheader-uid-headers" {
			data[key] = list
		}
	}
	return data, nil
}

// union adds to a list, which is in JSON, what it does not have yet.
func union(old string, own []string) (string, error) {
	list := []string{}
	if old != "" {
		if err := json.Unmarshal([]byte(old), &list); err != nil {
			return "", err
		}
	}
	for _, value := range own {
		if !slices.Contains(list, value) {
			list = append(list, value)
		}
	}
	data, err := json.Marshal(list)
	return string(data), err
}

// bundle joins certificates, each once and without those that have expired.
func bundle(old string, own []byte, file string) (string, error) {
	parts := [][]byte{[]byte(old), own}
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		parts = append(parts, data)
	}
	var all []*x509.Certificate
	for _, part := range parts {
		if len(bytes.TrimSpace(part)) == 0 {
			continue
		}
		certificates, err := certutil.ParseCertsPEM(part)
		if err != nil {
			return "", err
		}
		all = append(all, certificates...)
	}
	var joined bytes.Buffer
	seen := map[string]bool{}
	for _, certificate := range all {
		if seen[string(certificate.Raw)] || time.Since(certificate.NotAfter) > expiryLeeway {
			continue
		}
		seen[string(certificate.Raw)] = true
		if err := pem.Encode(&joined, &pem.Block{Type: certutil.CertificateBlockType, Bytes: certificate.Raw}); err != nil {
			return "", err
		}
	}
	return joined.String(), nil
}

// expiryLeeway is for clocks that differ, as upstream.
const expiryLeeway = 5 * time.Minute

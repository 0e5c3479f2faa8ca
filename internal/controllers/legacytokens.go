package controllers

import (
	"context"
	"log/slog"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	api "k8s.io/kubernetes/pkg/apis/core"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/verb"
)

// LegacyTokens says in the ConfigMap kube-apiserver-legacy-service-account-token-tracking since when the use of tokens in Secrets is
// noted: kube-controller-manager removes those that were not used for a year from then on
// (k8s.io/kubernetes/pkg/controlplane/controller/legacytokentracking).
type LegacyTokens struct {
	API *verb.API
	// ConfigMaps is v1 configmaps; without it nothing is done.
	ConfigMaps *kind.Resource
	Logger     *slog.Logger
}

const (
	legacyTokensConfigMap = "kube-apiserver-legacy-service-account-token-tracking"
	legacyTokensSince     = "since"
	legacyTokensEvery     = time.Minute
)

// Name is what errors call it.
func (c *LegacyTokens) Name() string { return "tracking of legacy tokens" }

// Ensure creates the ConfigMap, or gives it a date if it has none.
func (c *LegacyTokens) Ensure(ctx context.Context) error {
	if c.ConfigMaps == nil {
		return nil
	}
	ctx = verb.AsServer(ctx)
	snapshot, err := c.API.State.Consistent(ctx)
	if err != nil {
		return err
	}
	obj, err := stored(snapshot, c.API.Root, c.ConfigMaps, metav1.NamespaceSystem, legacyTokensConfigMap)
	if err != nil {
		return err
	}
	since := map[string]string{legacyTokensSince: time.Now().UTC().Format(time.DateOnly)}
	if obj == nil {
		_, err := c.API.CreateObjectWith(ctx, c.ConfigMaps, metav1.NamespaceSystem,
			&api.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: legacyTokensConfigMap}, Data: since},
			&metav1.CreateOptions{FieldManager: asKubeAPIServer})
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	}
	if tracked(obj) {
		return nil
	}
	_, err = c.API.UpdateObject(ctx, c.ConfigMaps, "", metav1.NamespaceSystem, legacyTokensConfigMap,
		&metav1.UpdateOptions{FieldManager: asKubeAPIServer}, func(obj runtime.Object) (runtime.Object, error) {
			if m, ok := obj.(*api.ConfigMap); ok && !tracked(m) {
				if m.Data == nil {
					m.Data = map[string]string{}
				}
				m.Data[legacyTokensSince] = since[legacyTokensSince]
			}
			return obj, nil
		})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // next time
	}
	return err
}

// tracked reports whether a ConfigMap has a date.
func tracked(obj runtime.Object) bool {
	m, ok := obj.(*api.ConfigMap)
	if !ok {
		return false
	}
	_, err := time.Parse(time.DateOnly, m.Data[legacyTokensSince])
	return err == nil
}

// Run ensures it again and again, until ctx ends.
func (c *LegacyTokens) Run(ctx context.Context) {
	every(ctx, legacyTokensEvery, func() {
		if err := c.Ensure(ctx); err != nil && ctx.Err() == nil {
			c.Logger.Warn("cannot say since when legacy tokens are tracked", "error", err)
		}
	})
}

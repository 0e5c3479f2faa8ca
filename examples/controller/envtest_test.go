package controller_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// assets builds kayak and has it fill a directory for envtest.
func assets(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "kayak")
	build := exec.Command("go", "build", "-o", program, "./cmd/kayak")
	build.Dir = filepath.Join("..", "..") // kayak's own module, with the versions that it is built with
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		t.Fatalf("cannot build kayak: %v", err)
	}
	out, err := exec.Command(program, "envtest-assets", filepath.Join(dir, "assets")).Output()
	if err != nil {
		t.Fatalf("kayak envtest-assets: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// controller-runtime's own envtest, with kayak as kube-apiserver and etcd.
func TestEnvtest(t *testing.T) {
	t.Parallel()
	dir := assets(t)
	environment := &envtest.Environment{BinaryAssetsDirectory: dir}
	began := time.Now()
	config, err := environment.Start()
	if err != nil {
		t.Fatal(err)
	}
	started := time.Since(began)
	stopped := false
	stop := func() time.Duration {
		began := time.Now()
		if err := environment.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
		stopped = true
		return time.Since(began)
	}
	defer func() {
		if !stopped {
			stop()
		}
	}()

	t.Run("lifecycle", func(t *testing.T) { lifecycle(t, config) })

	user, err := environment.AddUser(envtest.User{Name: "jane", Groups: []string{"system:masters"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	kubectl, err := user.Kubectl()
	if err != nil {
		t.Fatal(err)
	}
	out, errOut, err := kubectl.Run("get", "namespace", "one", "-o", "name")
	if err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(io.MultiReader(out, errOut))
	if err != nil || strings.TrimSpace(string(said)) != "namespace/one" {
		t.Errorf("kubectl said %q, error %v", said, err)
	}

	// Watches are open when it ends.
	watched := make(chan struct{})
	watch, err := kubernetes.NewForConfigOrDie(config).CoreV1().Pods("").Watch(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(watched)
		for range watch.ResultChan() {
		}
	}()
	ended := stop()
	<-watched
	t.Logf("envtest: Start took %s, Stop with an open watch %s", started.Round(time.Millisecond), ended.Round(time.Millisecond))
}

package bootstrap

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// TestMain lets the test binary be the other server: with the variable set it locks the directory and waits to be killed.
func TestMain(m *testing.M) {
	dir := os.Getenv("KAYAK_TEST_LOCK_DIR")
	if dir == "" {
		os.Exit(m.Run())
	}
	if _, err := Lock(dir); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("locked")
	io.Copy(io.Discard, os.Stdin) // until killed, or until the test is gone
}

func TestLockAcrossProcesses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	other := exec.Command(os.Args[0])
	other.Env = append(os.Environ(), "KAYAK_TEST_LOCK_DIR="+dir)
	if _, err := other.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	kill := sync.OnceFunc(func() { other.Process.Kill(); other.Wait() })
	t.Cleanup(kill)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
		t.Fatalf("the other process said %q (%v)", line, err)
	}

	want := fmt.Sprintf("data directory %s is in use by another kayak (pid %d)", dir, other.Process.Pid)
	if _, err := Lock(dir); err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	kill() // kill -9: the lock goes with the process
	release, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	release()
}

func TestLockInOneProcess(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new")
	release, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("data directory %s is in use by another kayak (pid %d)", dir, os.Getpid())
	if _, err := Lock(dir); err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	mustPrepare(t, testOptions(dir)) // the holder's own preparation is not hindered, nor does it drop the lock
	if _, err := Lock(dir); err == nil {
		t.Error("locked twice")
	}
	release()
	release() // a second call is harmless
	again, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	again()
}

// TestLockIsExclusive lets many contend; two holders at once would be seen by the counter (and by the race detector).
func TestLockIsExclusive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var holders, won atomic.Int32
	unguarded := 0
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for won.Load() < 100 {
				release, err := Lock(dir)
				if err != nil {
					continue
				}
				if holders.Add(1) != 1 {
					t.Error("two hold the lock")
				}
				unguarded++
				won.Add(1)
				holders.Add(-1)
				release()
			}
		})
	}
	wg.Wait()
	if unguarded < 100 {
		t.Errorf("%d turns, want at least 100", unguarded)
	}
}

func TestLockFileWithoutPID(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	release, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	for _, content := range []string{"", "12x\n"} {
		fill(t, dir, map[string]string{lockFile: content})
		want := fmt.Sprintf("data directory %s is in use by another kayak (pid unknown)", dir)
		if _, err := Lock(dir); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

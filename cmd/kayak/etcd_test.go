package main

import (
	"strings"
	"testing"
)

func TestEtcdArgs(t *testing.T) {
	t.Parallel()
	const soon = "--heartbeat-interval=10 --election-timeout=100 "
	for _, test := range []struct{ args, environment, want string }{
		{args: "--data-dir=a --listen-peer-urls=http://localhost:0", want: soon + "--data-dir=a --listen-peer-urls=http://localhost:0"},
		{args: "--initial-cluster=a=http://a:1", want: soon + "--initial-cluster=a=http://a:1"},
		{args: "--initial-cluster a=http://a:1,b=http://b:1", want: "--initial-cluster a=http://a:1,b=http://b:1"},
		{args: "--heartbeat-interval 50", want: "--heartbeat-interval 50"},
		{args: "--election-timeout=5000", want: "--election-timeout=5000"},
		{args: "--initial-cluster-state=existing", want: "--initial-cluster-state=existing"},
		{args: "gateway start", want: "gateway start"},
		{args: "--name=a", environment: "ETCD_ELECTION_TIMEOUT=5000", want: "--name=a"},
		{args: "--name=a", environment: "ETCD_INITIAL_CLUSTER=a=http://a:1,b=http://b:1", want: "--name=a"},
		{args: "--name=a", environment: "ETCD_INITIAL_CLUSTER=a=http://a:1", want: soon + "--name=a"},
	} {
		got := strings.Join(etcdArgs(strings.Fields(test.args), strings.Fields(test.environment)), " ")
		if got != test.want {
			t.Errorf("%s (%s): got %s, want %s", test.args, test.environment, got, test.want)
		}
	}
}

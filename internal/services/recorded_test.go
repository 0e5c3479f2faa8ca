package services_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/networking"

	"github.com/kayak-k8s/kayak/internal/services"
)

// scenario is what was sent to a real kube-apiserver v1.37.2 in testdata/recorded.json, and what it answered. Each began
// without any Service but "kubernetes", which has the first address. The addresses and ports that are asked for are of the
// bands from which nothing is given by chance.
type scenario struct {
	Name, Cluster string
	Exchanges     []exchange
}

type exchange struct {
	Method, Name, Query string
	Spec                json.RawMessage
	Code                int
	// Error is the message of a Status, Stored the spec of a Service. Addresses and ports that nobody has asked for are any-...,
	// numbered in the order of their appearance.
	Error  string
	Stored any
}

// clusters are how the real servers were set up.
var clusters = map[string]cluster{
	"single": single,
	"dual":   {ranges: []string{"10.1.0.0/20", "fd00:1::/112"}, nodePorts: services.DefaultNodePorts},
	"tiny":   {ranges: []string{"10.2.0.0/29"}, nodePorts: utilnet.PortRange{Base: 30000, Size: 2}},
}

func TestAnswersAreThoseOfARealServer(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/recorded.json")
	if err != nil {
		t.Fatal(err)
	}
	var scenarios []scenario
	if err := json.Unmarshal(data, &scenarios); err != nil {
		t.Fatal(err)
	}
	for _, s := range scenarios {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			s.replay(t)
		})
	}
}

func (s *scenario) replay(t *testing.T) {
	c := clusters[s.Cluster]
	f := newServer(t, newStore(t), c)
	first := netip.MustParsePrefix(c.ranges[0]).Addr().Next()
	if err := f.CreateIPAddress(t.Context(), address(first.String(), "default", "kubernetes")); err != nil {
		t.Fatal(err)
	}
	chance := &chance{names: map[string]string{}, asked: s.asked(), fewPorts: c.nodePorts.Size < 10}
	for _, text := range c.ranges {
		chance.networks = append(chance.networks, netip.MustParsePrefix(text).Addr().String())
	}
	for i, e := range s.Exchanges {
		code, body := f.exchange(t, e)
		got := exchange{Code: code}
		if code >= 400 {
			got.Error = fmt.Sprint(body["message"])
		} else if e.Method != http.MethodDelete {
			got.Stored = chance.name("", body["spec"])
		}
		if diff := cmp.Diff(exchange{Code: e.Code, Error: e.Error, Stored: e.Stored}, got); diff != "" {
			t.Errorf("%d: %s %s?%s %s: -want +got\n%s", i, e.Method, e.Name, e.Query, e.Spec, diff)
		}
	}
	f.checkBooks(t)
}

func (f *server) exchange(t *testing.T, e exchange) (int, map[string]any) {
	t.Helper()
	path := servicesPath
	body := fmt.Sprintf(`{"apiVersion":"v1","kind":"Service","metadata":{"name":%q},"spec":%s}`, e.Name, e.Spec)
	switch e.Method {
	case http.MethodPatch:
		body = fmt.Sprintf(`{"spec":%s}`, e.Spec)
	case http.MethodDelete:
		body = ""
	}
	if e.Method != http.MethodPost {
		path += "/" + e.Name
	}
	w := f.do(t.Context(), e.Method, path+"?"+e.Query, body)
	f.catchUp(t)
	var answer map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Fatalf("%s: %v", w.Body, err)
	}
	return w.Code, answer
}

// chance names what is a matter of chance, as the recording does.
type chance struct {
	names    map[string]string
	asked    map[string]bool
	networks []string
	// fewPorts says that it is a matter of chance, too, whether two ports are the same.
	fewPorts bool
}

var number = regexp.MustCompile(`"(?:nodePort|healthCheckNodePort)": ?(\d+)|"([0-9a-fA-F.:]+)"`)

// asked are the addresses and ports that somebody asks for.
func (s *scenario) asked() map[string]bool {
	asked := map[string]bool{}
	for _, e := range s.Exchanges {
		for _, match := range number.FindAllStringSubmatch(string(e.Spec), -1) {
			asked[match[1]+match[2]] = true
		}
	}
	return asked
}

func (c *chance) name(field string, value any) any {
	switch value := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			if key == "ports" || key == "healthCheckNodePort" {
				continue
			}
			value[key] = c.name(key, value[key])
		}
		// The order in which a Service shows them.
		for _, key := range []string{"ports", "healthCheckNodePort"} {
			if v, ok := value[key]; ok {
				value[key] = c.name(key, v)
			}
		}
	case []any:
		for i := range value {
			value[i] = c.name(field, value[i])
		}
	case string:
		address, err := netip.ParseAddr(value)
		if err != nil || c.asked[value] || slices.Contains(c.networks, value) {
			return value
		}
		kind := "any-ipv6"
		if address.Is4() {
			kind = "any-ipv4"
		}
		return c.numbered(kind, value)
	case float64:
		text := fmt.Sprint(int(value))
		if field != "nodePort" && field != "healthCheckNodePort" || c.asked[text] || value > 32767 {
			return value
		}
		if c.fewPorts {
			return "any-port"
		}
		return c.numbered("any-port", text)
	}
	return value
}

func (c *chance) numbered(kind, value string) string {
	if name := c.names[value]; name != "" {
		return name
	}
	n := 1
	for _, name := range c.names {
		if strings.HasPrefix(name, kind) {
			n++
		}
	}
	c.names[value] = fmt.Sprintf("%s-%d", kind, n)
	return c.names[value]
}

func address(ip, namespace, name string) *networking.IPAddress {
	family := string(api.IPv4Protocol)
	if netip.MustParseAddr(ip).Is6() {
		family = string(api.IPv6Protocol)
	}
	return &networking.IPAddress{
		ObjectMeta: metav1.ObjectMeta{Name: ip, Labels: map[string]string{
			"ipaddress.kubernetes.io/ip-family": family, "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
		}},
		Spec: networking.IPAddressSpec{ParentRef: &networking.ParentReference{Resource: "services", Namespace: namespace, Name: name}},
	}
}

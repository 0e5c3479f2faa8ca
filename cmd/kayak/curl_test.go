package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// curl is what the scripts need of the program of that name, which not every machine has: one URL, and
//
//	-X METHOD, -H 'NAME: VALUE'
//	-d, --data DATA           POST it; of @FILE without its line ends; as application/x-www-form-urlencoded unless -H says more
//	--data-binary DATA        the same with the file as it is
//	--cacert, --cert, --key FILE; -k to trust everybody; -u USER:PASSWORD
//	-i                        print the status line and the headers first; -s is for readers
//
// As with curl, it succeeds whatever the answer is, and fails if there is none; what went wrong is on stderr.
type curl struct {
	method, url        string
	header             http.Header
	body               []byte
	hasBody            bool
	cacert, cert, key  string
	user               string
	trusting, included bool
}

func cmdCurl(ts *testscript.TestScript, neg bool, args []string) {
	c, err := parseCurl(ts, args)
	ts.Check(err)
	answer, err := c.do(ts)
	if err != nil {
		fmt.Fprintf(ts.Stderr(), "curl: %v\n", err)
	}
	_, _ = ts.Stdout().Write(answer)
	if failed := err != nil; failed != neg {
		ts.Fatalf("curl: error %v", err)
	}
}

func parseCurl(ts *testscript.TestScript, args []string) (*curl, error) {
	c := &curl{header: http.Header{"User-Agent": {"curl"}}}
	texts := map[string]*string{"-X": &c.method, "--cacert": &c.cacert, "--cert": &c.cert, "--key": &c.key, "-u": &c.user}
	flags := map[string]*bool{"-k": &c.trusting, "-i": &c.included, "-s": new(bool)}
	for len(args) > 0 {
		name := args[0]
		args = args[1:]
		if flag, ok := flags[name]; ok {
			*flag = true
			continue
		}
		if !strings.HasPrefix(name, "-") {
			c.url = name
			continue
		}
		if len(args) == 0 {
			return nil, fmt.Errorf("curl: %s needs a value", name)
		}
		value := args[0]
		args = args[1:]
		if text, ok := texts[name]; ok {
			*text = value
			continue
		}
		if err := c.set(ts, name, value); err != nil {
			return nil, err
		}
	}
	if c.url == "" {
		return nil, errors.New("curl: no URL")
	}
	return c, nil
}

func (c *curl) set(ts *testscript.TestScript, name, value string) error {
	switch name {
	case "-H":
		key, value, _ := strings.Cut(value, ":")
		c.header.Add(key, strings.TrimSpace(value))
	case "-d", "--data", "--data-binary":
		c.hasBody = true
		if file, ok := strings.CutPrefix(value, "@"); ok {
			value = ts.ReadFile(file)
			if name != "--data-binary" {
				value = strings.NewReplacer("\n", "", "\r", "").Replace(value)
			}
		}
		c.body = append(c.body, value...)
	default:
		return fmt.Errorf("curl: unknown option %s", name)
	}
	return nil
}

func (c *curl) do(ts *testscript.TestScript) ([]byte, error) {
	config, err := c.tls(ts)
	if err != nil {
		return nil, err
	}
	request, err := c.request()
	if err != nil {
		return nil, err
	}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var answer bytes.Buffer
	if c.included {
		fmt.Fprintf(&answer, "%s %s\n", response.Proto, response.Status)
		_ = response.Header.Write(&answer)
		answer.WriteString("\n")
	}
	_, err = io.Copy(&answer, response.Body)
	return bytes.ReplaceAll(answer.Bytes(), []byte("\r\n"), []byte("\n")), err
}

func (c *curl) request() (*http.Request, error) {
	method := c.method
	switch {
	case method == "" && c.hasBody:
		method = http.MethodPost
	case method == "":
		method = http.MethodGet
	}
	request, err := http.NewRequest(method, c.url, bytes.NewReader(c.body))
	if err != nil {
		return nil, err
	}
	request.Header = c.header
	if request.Header.Get("Accept") == "" {
		request.Header.Set("Accept", "*/*")
	}
	if c.hasBody && request.Header.Get("Content-Type") == "" {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if name, password, ok := strings.Cut(c.user, ":"); ok {
		request.SetBasicAuth(name, password)
	}
	return request, nil
}

func (c *curl) tls(ts *testscript.TestScript) (*tls.Config, error) {
	config := &tls.Config{InsecureSkipVerify: c.trusting}
	if c.cacert != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(ts.ReadFile(c.cacert))) {
			return nil, fmt.Errorf("no certificate in %s", c.cacert)
		}
	}
	if c.cert != "" {
		pair, err := tls.LoadX509KeyPair(ts.MkAbs(c.cert), ts.MkAbs(c.key))
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

package main

import "context"

// documentForms are what clients ask for before anything else, as client-go asks for it. Each is asked for once before, as a figure
// of its own: a server may have to make it.
func documentForms() []listForm {
	const aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
	return []listForm{
		{id: "discovery", query: "/apis", accept: aggregated, gzip: true, least: 50},
		{id: "openapi-v2", query: "/openapi/v2", accept: "application/com.github.proto-openapi.spec.v2@v1.0+protobuf", gzip: true, least: 10},
		{id: "openapi-v3", query: "/openapi/v3/apis/apps/v1", accept: acceptJSON, gzip: true, least: 50},
	}
}

// documents measures discovery and OpenAPI.
func documents(ctx context.Context, b *bench) error {
	for _, form := range documentForms() {
		one := func(ctx context.Context, _ int) (int64, error) {
			return b.client.do(ctx, request{path: form.query, accept: form.accept, gzip: form.gzip})
		}
		if err := b.measure(ctx, form.id+"-first", work{ops: 1, op: one}); err != nil {
			return err
		}
		if err := b.measure(ctx, form.id, form.work(one)); err != nil {
			return err
		}
	}
	return nil
}

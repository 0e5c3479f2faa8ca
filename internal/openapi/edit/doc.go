// Package edit changes OpenAPI documents, of v2 and of v3: it takes out what a server does not serve, and encodes what is left as
// upstream does. The generator uses it ahead of time; package openapi does for servers that serve another set of kinds than any
// of those whose documents are embedded.
package edit

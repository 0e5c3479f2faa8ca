// Package wire is how objects look on the wire: which media types there are, which one a request gets, and how objects, lists,
// tables and watch events are framed in each.
//
// An object travels as JSON, YAML or Kubernetes' protobuf. A client may also ask for it in another shape, as a Table or as
// its metadata alone (PartialObjectMetadata); that is part of the Accept header: "application/json;as=Table;v=v1;g=meta.k8s.io".
//
// Objects arrive here encoded already, as items without apiVersion and kind (kind.Item), because that is the one form that a
// get, a list and a watch event can share: framing puts the rest around them.
package wire

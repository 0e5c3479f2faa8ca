package verb

import (
	kjson "sigs.k8s.io/json"
)

// plainConfiguration reads a configuration to apply that is JSON, if YAML, which is what it is by its media type, means the same
// by it; nil if that is not certain. Upstream reads it as YAML, three times: for its syntax, for what it is, and for fields that
// are there twice. Here there are none, nor anything else that the two see differently: escapes, control characters and tabs,
// characters beyond ASCII, numbers that are no small integers, keys that are too long for YAML.
func plainConfiguration(body []byte) map[string]any {
	for _, c := range body {
		if c < ' ' && c != '\n' || c > '~' || c == '\\' {
			return nil
		}
	}
	var configuration map[string]any
	if strictErrs, err := kjson.UnmarshalStrict(body, &configuration); err != nil || len(strictErrs) > 0 || !plainValue(configuration) {
		return nil
	}
	return configuration
}

// maxPlainKey is the longest key that is plain. YAML takes up to 1024 bytes with quotes and spaces.
const maxPlainKey = 512

func plainValue(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		for key, v := range v {
			if len(key) > maxPlainKey || !plainValue(v) {
				return false
			}
		}
	case []any:
		for _, v := range v {
			if !plainValue(v) {
				return false
			}
		}
	case float64:
		return false
	}
	return true
}

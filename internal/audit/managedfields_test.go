package audit

import "testing"

func TestWithoutManagedFields(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"z":1,"metadata":{"b":"<&>","managedFields":[{}],"a":2},"managedFields":3}`:                       `{"z":1,"metadata":{"b":"<&>","a":2},"managedFields":3}`,
		`{"items":[{"metadata":{"managedFields":[]}},{"metadata":{"name":"a"}}]}` + "\n":                    `{"items":[{"metadata":{}},{"metadata":{"name":"a"}}]}`,
		`{"rows":[{"cells":[1.50],"object":{"metadata":{"name":"a","managedFields":[]}}},{"object":null}]}`: `{"rows":[{"cells":[1.50],"object":{"metadata":{"name":"a"}}},{"object":null}]}`,
		`{"metadata":null,"items":{"managedFields":1}}`:                                                     `{"metadata":null,"items":{"managedFields":1}}`,
		`{"metadata":{}}`: `{"metadata":{}}`,
	} {
		got, err := withoutManagedFields([]byte(in))
		if err != nil || string(got) != want {
			t.Errorf("%s: %s, error %v, want %s", in, got, err, want)
		}
	}
	if _, err := withoutManagedFields([]byte(`{"metadata":{"managedFields":[}}`)); err == nil {
		t.Error("what is no JSON has no error")
	}
}

package verb

import "testing"

func TestExpensiveJSON(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		`"uid":"4f3e7d0c-9d0e-0123-9abc-5f3e99999999"`: false, // in the middle of a hexadecimal number
		`"sha256:0a1e999999ff"`:                        false,
		`"a-1e99999"`:                                  false,
		`"1e99999"`:                                    true,
		`"-1e99999"`:                                   true,
		`:1e99999`:                                     true,
		`"\u000a1e99999"`:                              true,
		`{\"x\":\n1e99999}`:                            true,
		`"x1e99999"`:                                   true, // nobody knows what it is
		`1e9999`:                                       false,
		``:                                             false,
		`-1e99999`:                                     true,
	} {
		if got := expensiveJSON([]byte(text)); got != want {
			t.Errorf("%s: %t", text, got)
		}
	}
}

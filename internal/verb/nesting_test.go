package verb

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

func nested(depth int) []byte {
	var message []byte // the square of the depth, but the depth is small
	for range depth {
		message = protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), message)
	}
	return message
}

func TestCheckNesting(t *testing.T) {
	t.Parallel()
	for depth, want := range map[int]error{0: nil, 100: nil, maxNesting - 1: nil, maxNesting: errNesting, maxNesting + 1: errNesting} {
		if err := checkNesting(nested(depth)); err != want {
			t.Errorf("%d: %v", depth, err)
		}
	}
	behind := append(protowire.AppendVarint(protowire.AppendTag(nil, 3, protowire.VarintType), 7), nested(maxNesting)...)
	if err := checkNesting(behind); err != errNesting {
		t.Errorf("behind another field: %v", err)
	}
	if err := checkNesting(bytes.Repeat([]byte("text "), 100_000)); err != nil {
		t.Errorf("text: %v", err)
	}
}

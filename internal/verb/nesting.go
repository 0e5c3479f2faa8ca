package verb

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// The decoders of JSON and YAML refuse what is nested too deeply; that of protobuf does not, and a kind that can hold itself, a
// schema in a definition of custom resources, is decoded and converted by functions that call themselves. A body of 2 MB
// makes them use up the stack, which ends the process: it is not a panic that can be recovered from.

// maxNesting is the depth that encoding/json takes, and so sigs.k8s.io/json.
const maxNesting = 10000

var errNesting = errors.New("protobuf: exceeded max depth")

// checkNesting refuses a message with messages in it to a depth beyond maxNesting. It knows no types: whatever can be read as
// a message counts as one, which text of such a depth never can.
func checkNesting(message []byte) error {
	if len(message) >= 2*maxNesting && tooDeep(message, maxNesting) { // a message needs two bytes around it
		return errNesting
	}
	return nil
}

// tooDeep reads every byte at most once, as a tag or a value on one of the levels.
func tooDeep(message []byte, left int) bool {
	if left == 0 {
		return true
	}
	for len(message) >= 2*left {
		number, wireType, n := protowire.ConsumeTag(message)
		if n < 0 {
			return false
		}
		message = message[n:]
		if wireType == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(message)
			if len(value) >= 2*(left-1) && tooDeep(value, left-1) {
				return true
			}
		}
		if n = protowire.ConsumeFieldValue(number, wireType, message); n < 0 {
			return false
		}
		message = message[n:]
	}
	return false
}

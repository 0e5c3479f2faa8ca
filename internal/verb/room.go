package verb

import "net/http"

// roomForWrite is about what a write needs of a goroutine's stack, beside what the connection's part has taken.
const roomForWrite = 28 << 10

// makeRoom lets the goroutine's stack grow to what a write needs, at once. A request is served by a goroutine that has just been made, with a
// small stack; as it is, the stack would be found to be too small again and again on the way down, and each time all that is on it is
// copied and adjusted, the more the deeper. That takes as long as validating a small object.
//
//go:noinline
func makeRoom(r *http.Request) byte {
	var room [roomForWrite]byte
	return room[len(r.Method)%roomForWrite] // so that there has to be one
}

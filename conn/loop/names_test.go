package loop

import (
	"fmt"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Reports name a task by its String. Without one they would print what it holds, which others change meanwhile.
func TestEveryTaskHasAName(t *testing.T) {
	ln := &Listener{addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7669}}
	d := NewDetached(nil, nil)
	for _, task := range []Task{&errand{}, &handover{Accepted: Accepted{ln: ln}}, &portedAcceptor{ln: ln}, d, &adoption{d: d},
		&portedSocket{socket: &Socket{owner: d}}, &portedAttempt{d: &dialer{}}, &dialer{}} {
		assert.Implements(t, (*fmt.Stringer)(nil), task)
		assert.NotContains(t, fmt.Sprint(task), "{")
	}
}

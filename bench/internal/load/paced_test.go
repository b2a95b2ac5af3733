package load

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A server that stalls is charged with all messages that became due meanwhile, though few had been sent before.
func TestAStallIsNotOmitted(t *testing.T) {
	const stall = 200 * time.Millisecond
	to := listen(t, func(nc net.Conn) {
		buf := make([]byte, 64)
		for i := 0; ; i++ {
			if _, err := io.ReadFull(nc, buf); err != nil {
				return
			}
			if i == 100 {
				time.Sleep(stall)
			}
			nc.Write(buf)
		}
	})
	p, err := Pace(to, nil, 1, 1000, 1, message)
	require.NoError(t, err)
	defer p.Close()
	_, messages, err := p.Run(time.Second)
	require.NoError(t, err)
	assert.InDelta(t, 1000, messages, 250)
	slow := 0
	for _, bar := range p.Latencies().Distribution() {
		if bar.From >= int64(stall/4) {
			slow += int(bar.Count)
		}
	}
	assert.Greater(t, slow, 100, "of about 200 that became due in the stall, three quarters waited so long; in a closed loop it is one")
}

func TestAServerThatCannotKeepUpIsAnError(t *testing.T) {
	to := listen(t, func(nc net.Conn) { io.Copy(io.Discard, nc) })
	p, err := Pace(to, nil, 1, 1000, 1, message)
	require.NoError(t, err)
	defer p.Close()
	_, _, err = p.Run(100 * time.Millisecond)
	assert.ErrorContains(t, err, "cannot keep up")
}

func TestTheSameSeedIsTheSameLoad(t *testing.T) {
	to := listen(t, func(nc net.Conn) { io.Copy(nc, nc) })
	var counts []int
	for range 2 {
		p, err := Pace(to, nil, 3, 2000, 7, message)
		require.NoError(t, err)
		var due []int
		p.next = 0
		require.NoError(t, p.send(50*time.Millisecond))
		for i := range p.clients {
			due = append(due, int(p.clients[i].due))
		}
		counts = append(counts, due...)
		p.Close()
	}
	assert.Equal(t, counts[:3], counts[3:])
	assert.NotZero(t, counts[0])
}

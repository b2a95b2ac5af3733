package load

import (
	"io"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/galago-go/galago/bench/internal/serve"
)

func message(i int) []byte { return serve.Message(i, 64) }

// A server that does not echo must not be measured.
func TestLoadChecksWhatComesBack(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer func(p []byte) []byte // to what was read
		says   string
	}{
		{"wrong byte", func(p []byte) []byte { p[len(p)-1]++; return p }, "other bytes"},
		{"too long", func(p []byte) []byte { return append(p, 0) }, "1 bytes more"},
		{"nothing", func([]byte) []byte { return nil }, "closed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			e, err := Connect(serveOnce(t, test.answer), nil, 1, 1, message)
			require.NoError(t, err)
			defer e.Close()
			require.NoError(t, e.Start())
			_, _, err = e.Run(stallLimit)
			assert.ErrorContains(t, err, test.says)
		})
	}
}

func TestConnectFails(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nobody := ln.Addr().(*net.TCPAddr).AddrPort()
	require.NoError(t, ln.Close())
	_, err = Connect(nobody, nil, 2, 1, message)
	assert.ErrorContains(t, err, "connection 1 of 2")
	g, err := NewGuests(nobody, nil, 0, 2)
	if err == nil { // who cannot connect may hear of it later
		_, _, err = g.Run(stallLimit)
		g.Close()
	}
	assert.ErrorIs(t, err, unix.ECONNREFUSED)
}

// serveOnce answers one message on one connection, then closes it.
func serveOnce(t *testing.T, answer func([]byte) []byte) netip.AddrPort {
	return listen(t, func(nc net.Conn) {
		buf := make([]byte, 64)
		if _, err := io.ReadFull(nc, buf); err == nil {
			nc.Write(answer(buf))
		}
	})
}

// listen serves connections, each on a goroutine.
func listen(t *testing.T, serve func(net.Conn)) netip.AddrPort {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				serve(nc)
			}()
		}
	}()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// A load that makes garbage would be its own noise.
func TestALoadAllocatesNothingWhileItRuns(t *testing.T) {
	buf := make([]byte, 64<<10)
	to := listen(t, func(nc net.Conn) {
		buf := buf[:0:len(buf)]
		for {
			n, err := nc.Read(buf[:cap(buf)])
			if err != nil {
				return
			}
			nc.Write(buf[:n])
		}
	})
	e, err := Connect(to, nil, 1, 8, message)
	require.NoError(t, err)
	defer e.Close()
	require.NoError(t, e.Start())
	_, _, err = e.Run(20 * time.Millisecond)
	require.NoError(t, err)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, messages, err := e.Run(100 * time.Millisecond)
	runtime.ReadMemStats(&after)
	require.NoError(t, err)
	assert.Greater(t, messages, 100)
	assert.Less(t, after.Mallocs-before.Mallocs, uint64(messages/10))
}

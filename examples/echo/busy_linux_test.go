package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/examples/internal/program"
)

// A busy client sends and receives at the same time, and does not stop before the server ends.
type busy struct {
	*net.TCPConn
	warm chan struct{} // closed when much has come back

	sent, back int64
	err        error // what is wrong; all of it may be read when run has returned
}

// run talks until the server's end, and then closes.
func (b *busy) run(data []byte) {
	wrote := make(chan error, 1)
	go func() {
		for {
			n, err := b.Write(data[b.sent%int64(len(data)):])
			b.sent += int64(n)
			if err != nil {
				wrote <- err
				return
			}
		}
	}()
	b.err = b.listen(data)
	b.SetWriteDeadline(time.Now()) // the server has ended its direction; it waits for the end of ours
	if err := <-wrote; !errors.Is(err, os.ErrDeadlineExceeded) {
		b.err = errors.Join(b.err, fmt.Errorf("sending: %w", err))
	}
	if b.back > b.sent {
		b.err = errors.Join(b.err, fmt.Errorf("%d bytes were sent, and %d came back", b.sent, b.back))
	}
	b.err = errors.Join(b.err, b.Close())
}

// listen reads to the end. What comes back is the beginning of what was sent.
func (b *busy) listen(data []byte) error {
	const much = 256 << 10
	buf := make([]byte, 32<<10)
	for {
		at := b.back % int64(len(data))
		n, err := b.Read(buf[:min(len(buf), len(data)-int(at))])
		if !bytes.Equal(buf[:n], data[at:at+int64(n)]) {
			return fmt.Errorf("from byte %d on, it is not what was sent", b.back)
		}
		if b.back < much && b.back+int64(n) >= much {
			close(b.warm)
		}
		b.back += int64(n)
		if err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("after %d bytes: %w", b.back, err)
		}
	}
}

// Every client gets a piece of what it sent without a gap, and then the end: no reset, though all go on sending.
func TestNET1_ASignalAmongBusyClients(t *testing.T) { inEachWay(t, testASignalAmongBusyClients) }

func testASignalAmongBusyClients(t *testing.T, args ...string) {
	const clients = 50
	server := program.Start(t, append(args, "-loops", "2")...)
	data := pattern(256 << 10)
	var running sync.WaitGroup
	all := make([]*busy, clients)
	for i := range all {
		all[i] = &busy{TCPConn: server.Dial(t), warm: make(chan struct{})}
	}
	for _, b := range all { // none begins before all are there: they leave little time to others
		running.Go(func() { b.run(data) })
	}
	for i, b := range all {
		select {
		case <-b.warm:
		case <-time.After(program.Patience):
			require.Fail(t, "a client hears little", "client %d", i)
		}
	}
	server.Signal(t, syscall.SIGTERM)
	running.Wait()
	for i, b := range all {
		assert.NoError(t, b.err, "client %d", i)
	}
	assert.Equal(t, "echo: shut down; connections closed in order: 50, aborted: 0\n", server.End(t))
}

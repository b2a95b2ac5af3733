package loop

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
)

// A faultyConn does what a test says.
type faultyConn struct {
	net.Conn // nil
	read     func(p []byte) (int, error)
	write    func(p []byte) (int, error)
	deadline func(time.Time) // of writes; may be nil
	gone     chan struct{}
	once     sync.Once
}

func newFaultyConn() *faultyConn {
	c := &faultyConn{gone: make(chan struct{})}
	c.read = func([]byte) (int, error) {
		<-c.gone
		return 0, net.ErrClosed
	}
	return c
}

func (c *faultyConn) Read(p []byte) (int, error)      { return c.read(p) }
func (c *faultyConn) Write(p []byte) (int, error)     { return c.write(p) }
func (c *faultyConn) SetDeadline(time.Time) error     { return nil }
func (c *faultyConn) SetReadDeadline(time.Time) error { return nil }

func (c *faultyConn) SetWriteDeadline(t time.Time) error {
	if c.deadline != nil {
		c.deadline(t)
	}
	return nil
}

func (c *faultyConn) Close() error {
	c.once.Do(func() { close(c.gone) })
	return nil
}

// What the system took was taken, whatever happened then: else a send that reached the peer is reported as failed.
func TestPortReportsWhatWasTakenBeforeTheError(t *testing.T) {
	c := newFaultyConn()
	c.write = func(p []byte) (int, error) { return 3, syscall.ECONNRESET }
	e := newPortEnd(t, c)
	p := []byte("0123456789")
	_, err := e.write([][]byte{p})
	require.Equal(t, conn.ErrWouldBlock, err)
	e.until(t, conn.Readable|conn.Writable|conn.Hangup)
	_, err = e.unread()
	require.NoError(t, err, "it would end the connection before the bytes are counted")
	_, err = e.read(make([]byte, 1))
	require.Equal(t, conn.ErrWouldBlock, err)
	n, err := e.write([][]byte{p})
	require.NoError(t, err)
	require.Equal(t, 3, n)
	e.until(t, conn.Readable|conn.Writable|conn.Hangup)
	_, err = e.unread()
	require.ErrorIs(t, err, syscall.ECONNRESET)
	_, err = e.read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
	_, err = e.write([][]byte{p[3:]})
	require.ErrorIs(t, err, syscall.ECONNRESET)
}

// The system tells a reset once: who asks next is told of an end. The writer may be the one who asked first.
func TestPortTakesNoResetForAnEnd(t *testing.T) {
	c := newFaultyConn()
	writing, hurried := make(chan struct{}), make(chan struct{})
	c.read = func([]byte) (int, error) {
		<-writing
		return 0, io.EOF
	}
	c.write = func([]byte) (int, error) {
		close(writing)
		<-hurried
		return 0, syscall.ECONNRESET
	}
	c.deadline = func(at time.Time) {
		if at.Before(time.Now()) {
			close(hurried)
		}
	}
	e := unstartedPort(t, c)
	e.timed = true
	e.start(&e.workers)
	_, err := e.write([][]byte{{1}})
	require.Equal(t, conn.ErrWouldBlock, err)
	e.until(t, conn.Readable|conn.Hangup)
	_, err = e.unread()
	require.ErrorIs(t, err, syscall.ECONNRESET)
	_, err = e.read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
}

// If the reader met the reset, the writer meets a broken pipe, and may say so first.
func TestPortNamesTheResetNotTheBrokenPipe(t *testing.T) {
	c := newFaultyConn()
	told := make(chan struct{})
	c.read = func([]byte) (int, error) {
		<-told
		return 0, syscall.ECONNRESET
	}
	c.write = func([]byte) (int, error) { return 0, syscall.EPIPE }
	e := newPortEnd(t, c)
	_, err := e.write([][]byte{{1}})
	require.Equal(t, conn.ErrWouldBlock, err)
	e.until(t, conn.Readable|conn.Writable|conn.Hangup)
	_, err = e.unread()
	require.ErrorIs(t, err, syscall.EPIPE)
	close(told)
	e.gone(t)
	_, err = e.read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
	_, err = e.write([][]byte{{1}})
	require.ErrorIs(t, err, syscall.ECONNRESET)
}

// A write that timed out says how much it took, and is no error.
func TestPortCountsWhatATimedOutWriteTook(t *testing.T) {
	c := newFaultyConn()
	var got []byte
	c.write = func(p []byte) (int, error) {
		if len(got) >= 8 {
			<-c.gone
			return 0, net.ErrClosed
		}
		n := min(2, len(p))
		got = append(got, p[:n]...)
		return n, os.ErrDeadlineExceeded
	}
	e := unstartedPort(t, c)
	e.timed = true
	e.start(&e.workers)
	want := []byte("0123456789")
	for rest := want; len(rest) > 2; {
		n, err := e.write([][]byte{rest[:1], rest[1:]})
		if err == conn.ErrWouldBlock {
			e.until(t, conn.Writable)
			continue
		}
		require.NoError(t, err)
		rest = rest[n:]
	}
	_ = e.Close(false)
	e.gone(t)
	assert.Equal(t, want[:8], got)
}

// What is in flight goes before FIN, though closeWrite should not be called then.
func TestPortSendsFINBehindWhatIsInFlight(t *testing.T) {
	for _, kind := range portKinds {
		t.Run(kind.name, func(t *testing.T) {
			near, far := kind.join(t)
			e := newPortEnd(t, near)
			want := stream(1, 0, 60_000)
			_, err := e.write([][]byte{want})
			require.Equal(t, conn.ErrWouldBlock, err)
			require.NoError(t, e.closeWrite())
			require.NoError(t, e.closeWrite(), "a second one does nothing")
			require.NoError(t, far.SetDeadline(time.Now().Add(patience)))
			got, err := io.ReadAll(far)
			require.NoError(t, err)
			require.Equal(t, want, got)
			_ = far.Close()
			e.until(t, conn.Hangup)
			for err = conn.ErrWouldBlock; err == conn.ErrWouldBlock; {
				_, err = e.read(make([]byte, 1))
				_, _ = e.write([][]byte{want})
			}
			assert.Equal(t, io.EOF, err)
		})
	}
}

// A reader that waits for room goes on when there is some, and sees the end.
func TestPortReadsAheadNoFurtherThanItMay(t *testing.T) {
	near, far := net.Pipe()
	e := newPortEnd(t, near)
	want := stream(1, 0, 300_000)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer func() { _ = far.Close() }()
	wg.Go(func() {
		_, _ = far.Write(want)
		_ = far.Close()
	})
	held := func() bool {
		e.port.mu.Lock()
		defer e.port.mu.Unlock()
		return e.held != nil
	}
	for end := time.Now().Add(patience); !held(); time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(end), "it reads without a bound")
	}
	n, err := e.unread()
	require.NoError(t, err)
	assert.LessOrEqual(t, n, 2*portLarge)
	var got []byte
	p := make([]byte, 10_000)
	for {
		n, err = e.read(p)
		got = append(got, p[:n]...)
		switch {
		case err == conn.ErrWouldBlock:
			e.until(t, conn.Readable)
		case err == io.EOF:
			require.Equal(t, want, got)
			return
		default:
			require.NoError(t, err)
		}
	}
}

func BenchmarkPort(b *testing.B) {
	rounds := func(b *testing.B, c net.Conn) {
		defer func() { _ = c.Close() }()
		p := make([]byte, 64)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Write(p); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(c, p); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("port", func(b *testing.B) {
		near, far := joinTCP(b)
		e := newPortEnd(b, near)
		over := make(chan struct{})
		go func() {
			defer close(over)
			e.echo()
		}()
		rounds(b, far)
		<-over
	})
	b.Run("net", func(b *testing.B) {
		near, far := joinTCP(b)
		over := make(chan struct{})
		go func() {
			defer close(over)
			_, _ = io.CopyBuffer(struct{ io.Writer }{near}, struct{ io.Reader }{near}, make([]byte, 64<<10))
			_ = near.Close()
		}()
		rounds(b, far)
		<-over
	})
}

// echo sends back what comes, until the end.
func (e *portEnd) echo() {
	p := make([]byte, 64<<10)
	rest := p[:0]
	bufs := make([][]byte, 1)
	for {
		if len(rest) == 0 {
			n, err := e.read(p)
			if err != nil && err != conn.ErrWouldBlock {
				return
			}
			rest = p[:n]
		}
		if len(rest) > 0 {
			bufs[0] = rest
			n, err := e.write(bufs)
			if rest = rest[n:]; err == nil {
				continue
			}
			if err != conn.ErrWouldBlock {
				return
			}
		}
		e.mu.Lock()
		seen := e.reported
		e.reported = 0
		e.mu.Unlock()
		if seen == 0 {
			<-e.bell
		}
	}
}

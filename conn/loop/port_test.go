package loop

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
)

func TestSHL1_APortKeepsTheContract(t *testing.T) {
	for _, kind := range portKinds {
		t.Run(kind.name, func(t *testing.T) {
			conntest.TestBackend(t, func(t *testing.T) conntest.Pair {
				part := strings.ToLower(t.Name())
				if !kind.resets && strings.Contains(part, "reset") {
					t.Skip("nothing but TCP has resets, and only through what names its inner connection")
				}
				if !kind.halves && strings.Contains(part, "the_other_direction_goes_on") {
					t.Skip("it can only be closed as a whole")
				}
				near, far := joinPorts(t, kind.join)
				return conntest.Pair{
					Near:  near,
					Far:   far,
					Turn:  func(b conn.Backend, f func()) { b.(*portEnd).turn(f) },
					Ready: func(b conn.Backend) conn.Interest { return b.(*portEnd).reports(time.Millisecond) },
				}
			})
		})
	}
}

// streamByte is what stands at a position of a stream.
func streamByte(seed byte, at int) byte { return byte(uint32(at)*2654435761>>24) ^ seed }

func stream(seed byte, from, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = streamByte(seed, from+i)
	}
	return p
}

// A traveller sends a stream over a port and checks the one that comes, as a connection would.
type traveller struct {
	e          *portEnd
	rng        *rand.Rand
	out, in    byte // seeds
	total      int
	sent, got  int
	read, writ bool // may be tried
	hangup     bool
	fin        bool
	ended      bool
}

// run goes on until both streams are over. It returns what went wrong.
func (v *traveller) run(halves bool) error {
	v.read, v.writ = true, true
	for end := time.Now().Add(patience); ; {
		moved, err := v.step()
		switch {
		case err != nil:
			return fmt.Errorf("after %d bytes sent and %d read: %w", v.sent, v.got, err)
		case v.sent == v.total && v.got == v.total && (v.ended && v.fin || !halves):
			return nil
		case v.sent == v.total && halves && !v.fin:
			v.fin = true
			if err := v.e.closeWrite(); err != nil {
				return err
			}
			continue
		case moved:
			end = time.Now().Add(patience)
			continue
		case time.Now().After(end):
			return fmt.Errorf("nothing moved after %d bytes sent and %d read", v.sent, v.got)
		}
		i := v.e.reports(time.Second)
		v.hangup = v.hangup || i&conn.Hangup != 0
		v.read = v.read || i&(conn.Readable|conn.Hangup) != 0
		v.writ = v.writ || i&(conn.Writable|conn.Hangup) != 0
	}
}

func (v *traveller) step() (moved bool, err error) {
	if v.writ && v.sent < v.total {
		size := min(v.rng.IntN(200_000)>>v.rng.IntN(16)+1, v.total-v.sent)
		p := stream(v.out, v.sent, size)
		cut := v.rng.IntN(size + 1)
		n, err := v.e.write([][]byte{p[:cut], nil, p[cut:]})
		clear(p) // it is not kept
		if err != nil && err != conn.ErrWouldBlock {
			return false, err
		}
		v.sent += n
		v.writ, moved = n == size, n > 0
	}
	if v.read && !v.ended {
		p := make([]byte, v.rng.IntN(100_000)>>v.rng.IntN(16)+1)
		n, err := v.e.read(p)
		for i, b := range p[:n] {
			if b != streamByte(v.in, v.got+i) {
				return false, fmt.Errorf("byte %d is wrong", v.got+i)
			}
		}
		v.got += n
		v.read, moved = n == len(p) || v.hangup && err == nil, moved || n > 0
		switch {
		case err == io.EOF:
			v.ended = true
		case err != nil && err != conn.ErrWouldBlock:
			return false, err
		}
	}
	return moved, nil
}

func TestPortCarriesEveryByte(t *testing.T) {
	for _, kind := range portKinds {
		t.Run(kind.name, func(t *testing.T) {
			near, far := joinPorts(t, kind.join)
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			travellers := []*traveller{{e: near, out: 1, in: 2}, {e: far, out: 2, in: 1}}
			var wg sync.WaitGroup
			for i, v := range travellers {
				v.rng, v.total = rand.New(rand.NewPCG(seed, uint64(i))), 3<<20
				wg.Go(func() { assert.NoError(t, v.run(kind.halves)) })
			}
			wg.Wait()
			for _, e := range []*portEnd{near, far} {
				e.mustHoldLittle(t)
			}
		})
	}
}

// mustHoldLittle waits until the port holds one small buffer, or none if its reader has ended.
func (e *portEnd) mustHoldLittle(t *testing.T) {
	t.Helper()
	p := e.port
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		p.mu.Lock()
		size := 0
		for _, b := range []*portBuffer{p.in, p.unseen, p.held, p.flight} {
			if b != nil {
				size += len(b.p)
			}
		}
		p.mu.Unlock()
		if size <= portSmall {
			return
		}
		require.True(t, time.Now().Before(end), "an idle port holds %d bytes", size)
	}
}

func TestPortLetsGoOfItsBuffersWhenItIsQuiet(t *testing.T) {
	for _, kind := range portKinds {
		t.Run(kind.name, func(t *testing.T) {
			near, far := kind.join(t)
			e := newPortEnd(t, near)
			defer func() { _ = far.Close() }()
			go func() { _, _ = far.Write(stream(1, 0, 1<<20)) }()
			p := make([]byte, 64<<10)
			for n := 0; n < 1<<20; {
				k, err := e.read(p)
				if err == conn.ErrWouldBlock {
					e.until(t, conn.Readable)
					continue
				}
				require.NoError(t, err)
				n += k
			}
			e.mustHoldLittle(t)
			_, _ = far.Write([]byte("on"))
			n, err := 0, conn.ErrWouldBlock
			for err == conn.ErrWouldBlock { // a report may be of what was read before
				e.until(t, conn.Readable)
				n, err = e.read(p)
			}
			require.NoError(t, err)
			assert.Equal(t, "on", string(p[:n]), "it goes on with a small one")
		})
	}
}

// A CloseTimeout counts from the last progress, so progress must be told while a slow peer takes bytes.
func TestPortTellsProgressWhileThePeerReadsSlowly(t *testing.T) {
	for _, kind := range portKinds {
		if kind.name == "tls" || kind.name == "nameless" {
			continue // a record is taken as a whole; and one without a name cannot be given small buffers
		}
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			near, far := kind.join(t)
			setBuffers(t, near, far, 8<<10)
			e := newPortEnd(t, near)
			stop := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() {
				tick := time.NewTicker(150 * time.Millisecond)
				defer tick.Stop()
				p := make([]byte, 10_000)
				for {
					select {
					case <-tick.C:
						_, _ = io.ReadFull(far, p)
					case <-stop:
						_ = far.Close()
						return
					}
				}
			})
			var gaps []time.Duration
			rest := make([]byte, 8<<20)
			for last := time.Now(); len(gaps) < 16; {
				n, err := e.write([][]byte{rest})
				if err == conn.ErrWouldBlock {
					e.until(t, conn.Writable)
					continue
				}
				if !assert.NoError(t, err) {
					break
				}
				rest = rest[n:]
				if n < len(rest) {
					e.until(t, conn.Writable)
				}
				gaps = append(gaps, time.Since(last))
				last = time.Now()
			}
			gaps = gaps[len(gaps)/2:] // those before filled the buffers of the system
			slices.Sort(gaps)
			limit := 300 * time.Millisecond
			if kind.resets {
				limit = 750 * time.Millisecond // TCP tells of room in steps, here of about three of these reads
			}
			assert.Less(t, gaps[len(gaps)/2], limit, "%v", gaps)
			_ = e.Close(true)
			close(stop)
			wg.Wait()
		})
	}
}

func TestPortTellsAResetWhileBytesAreUnread(t *testing.T) {
	near, far := joinTCP(t)
	e := newPortEnd(t, near)
	mustWriteAll(t, far, "hello")
	e.until(t, conn.Readable)
	require.NoError(t, far.(*net.TCPConn).SetLinger(0))
	require.NoError(t, far.Close())
	e.until(t, conn.Readable|conn.Writable|conn.Hangup)
	n, err := e.unread()
	assert.Equal(t, 5, n)
	require.ErrorIs(t, err, syscall.ECONNRESET)
	p := make([]byte, 10)
	n, err = e.read(p)
	require.NoError(t, err)
	assert.Equal(t, "hello", string(p[:n]))
	_, err = e.read(p)
	require.ErrorIs(t, err, syscall.ECONNRESET)
	_, err = e.write([][]byte{p})
	require.ErrorIs(t, err, syscall.ECONNRESET)
}

// Reader and writer both meet the reset, and the system tells it to one of them.
func TestPortTellsAResetWhileItWrites(t *testing.T) {
	for range 30 {
		near, far := joinTCP(t)
		e := newPortEnd(t, near)
		rest := make([]byte, 1<<20)
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			_, _ = io.ReadFull(far, make([]byte, 64<<10))
			_ = far.(*net.TCPConn).SetLinger(0)
			_ = far.Close()
		}()
		var err error
		for {
			var n int
			n, err = e.write([][]byte{rest})
			if rest = rest[n:]; err != nil && err != conn.ErrWouldBlock {
				break
			}
			require.NotEmpty(t, rest)
			e.until(t, conn.Writable)
		}
		<-sent
		if !errors.Is(err, syscall.EPIPE) { // the reader met the reset, and has not told yet
			require.ErrorIs(t, err, syscall.ECONNRESET)
		}
		e.gone(t)
		_, err = e.read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
	}
}

func mustWriteAll(t *testing.T, w io.Writer, s string) {
	t.Helper()
	_, err := io.WriteString(w, s)
	require.NoError(t, err)
}

func TestPortNoticesTheEndWhileNobodyReads(t *testing.T) {
	for _, kind := range portKinds {
		t.Run(kind.name, func(t *testing.T) {
			near, far := kind.join(t)
			e := newPortEnd(t, near)
			want := stream(1, 0, 50_000)
			_, err := far.Write(want)
			require.NoError(t, err)
			require.NoError(t, far.Close())
			e.until(t, conn.Readable|conn.Hangup)
			n, err := e.unread()
			require.NoError(t, err, "the end is behind the bytes")
			require.Equal(t, len(want), n)
			p := make([]byte, 60_000)
			n, err = e.read(p)
			require.NoError(t, err)
			require.Equal(t, want, p[:n])
			_, err = e.unread()
			require.Equal(t, io.EOF, err)
			_, err = e.read(p)
			require.Equal(t, io.EOF, err)
		})
	}
}

func TestPortClosesAtOnceWhileAWriteIsStuck(t *testing.T) {
	for _, kind := range portKinds {
		for _, reset := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, reset %t", kind.name, reset), func(t *testing.T) {
				near, far := kind.join(t)
				e := newPortEnd(t, near)
				rest := make([]byte, 32<<20)
				for {
					n, err := e.write([][]byte{rest})
					if rest = rest[n:]; err != nil && err != conn.ErrWouldBlock {
						require.NoError(t, err)
					}
					if e.reports(3*longestTry) == 0 {
						break
					}
				}
				e.port.mu.Lock()
				stuck := e.flight != nil
				e.port.mu.Unlock()
				require.True(t, stuck)
				began := time.Now()
				assert.NoError(t, e.Close(reset))
				assert.Less(t, time.Since(began), tooLate)
				e.gone(t)
				assert.Less(t, time.Since(began), 7*tooLate, "TLS may take 5 s to give up its last word")
				_, err := e.read(make([]byte, 1))
				assert.ErrorIs(t, err, net.ErrClosed)
				_, err = e.write([][]byte{{1}})
				assert.ErrorIs(t, err, net.ErrClosed)
				_, err = e.unread()
				assert.ErrorIs(t, err, net.ErrClosed)
				_ = far.SetDeadline(time.Now().Add(patience))
				_, err = io.Copy(io.Discard, far)
				if reset && kind.resets {
					assert.ErrorIs(t, err, syscall.ECONNRESET)
				}
				assert.NotErrorIs(t, err, os.ErrDeadlineExceeded)
				_ = far.Close()
			})
		}
	}
}

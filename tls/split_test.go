package tls_test

import (
	stdtls "crypto/tls"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
)

// A chat is messages that each side sends, by their sizes.
type chat []int

var (
	// long has messages of one record and more, and large ones behind the first 128 KiB, in which records are shorter.
	long = chat{1, 2, 100, 16_384, 16_385, 65_536, 1, 2, 100, 16_384, 16_385, 65_536}
	// short has as many, and few bytes.
	short = chat{1, 2, 100, 300, 1, 500, 1, 2, 100, 1_500, 1, 2_000}
)

func (c chat) message(i int) string { return strings.Repeat(string(rune('a'+i)), c[i]) }

func (c chat) all() string {
	var b strings.Builder
	for i := range c {
		b.WriteString(c.message(i))
	}
	return b.String()
}

// with is a play in which both sides send all messages.
func (c chat) with(t *testing.T, v version, as role) play {
	p := v.play(t, as, c.peer)
	p.conn = conn.Config{HighWater: 1 << 20}
	p.brief = true
	p.setup = func(k *talk) {
		k.rec.Do = func(owner *conn.Conn, call string) {
			if call != "OnConnected" {
				return
			}
			for i := range c {
				_, err := owner.Send([]byte(c.message(i)))
				assert.NoError(k.t, err)
			}
		}
	}
	return p
}

// peer is the part of crypto/tls.
func (c chat) peer(far *stdtls.Conn) error {
	sent := make(chan error, 1)
	go func() {
		var err error
		for i := range c {
			if err == nil {
				_, err = io.WriteString(far, c.message(i))
			}
		}
		sent <- err
	}()
	want := c.all()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(far, got); err != nil {
		return err
	}
	if string(got) != want {
		return errors.New("what came is not what was sent")
	}
	if err := <-sent; err != nil {
		return err
	}
	return readToEnd(far)
}

// hold has p performed, with what comes to us cut. It returns how many bytes came of the handshake, and in all.
func (c chat) hold(t *testing.T, p play, cut func(at int, p string) []string) (hello, total int) {
	t.Helper()
	want := c.all()
	k := p.begin(t)
	defer k.over()
	k.cut = cut
	var got strings.Builder
	k.rec.Return = func(_ *conn.Conn, data []byte) error { got.Write(data); return nil }
	k.until("the conversation", func() bool { return got.Len() >= len(want) && k.count("OnSent") == len(c) })
	require.Equal(t, 1, k.count("OnConnected"))
	require.Less(t, index(k.calls, "OnConnected"), index(k.calls, "OnReceived"))
	require.True(t, got.String() == want, "what came is not what was sent")
	k.Do(func(c *conn.Conn) { c.Close() })
	k.done()
	k.part()
	require.NoError(t, k.ends.closed)
	return k.cable.hello, k.fed
}

// cutAt cuts a stream in two.
func cutAt(at int) func(from int, p string) []string {
	return func(from int, p string) []string {
		if n := at - from; n > 0 && n < len(p) {
			return []string{p[:n], p[n:]}
		}
		return []string{p}
	}
}

func TestTLS1_SingleBytes(t *testing.T) {
	each(t, func(t *testing.T, v version, as role) {
		long.hold(t, long.with(t, v, as), func(_ int, p string) []string { return strings.Split(p, "") })
	})
}

// TestTLS1_EveryCut would notice if another version of Go changed how crypto/tls goes on with half a record. It cuts at
// every position of the handshake, and of the first 2,000 bytes behind it.
func TestTLS1_EveryCut(t *testing.T) {
	each(t, func(t *testing.T, v version, as role) {
		everyCut(t, short, v, as, 1)
		everyCut(t, long, v, as, 101)
	})
}

func everyCut(t *testing.T, c chat, v version, as role, step int) {
	if raceDetector {
		step *= 19
	}
	p := c.with(t, v, as)
	hello, total := c.hold(t, p, nil)
	last, cuts := min(hello+2000, total-1), 0
	for at := 1; at <= last; at += step {
		if c.hold(t, p, cutAt(at)); t.Failed() {
			t.Fatalf("cut at %d", at)
		}
		cuts++
	}
	t.Logf("%d bytes of handshake, %d cuts until %d", hello, cuts, last)
}

package conn_test

import (
	"bufio"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/conn/frame"
)

// marker is a message that the owner sends to itself: f runs in the owner's part of this turn, or of the next.
// The rig must be Manual.
func (s *scene) marker(f func()) { s.Do(func(*conn.Conn) { f() }) }

func TestRCV11_YieldLetsMessagesIn(t *testing.T) {
	s := liveScene(t)
	var order []string // what came when: frames by number, markers as -number
	s.rec.Return = func(_ *conn.Conn, data []byte) error {
		n := len(order)/2 + 1
		order = append(order, "frame "+string(data))
		s.marker(func() { order = append(order, fmt.Sprintf("marker %04d", n)) })
		return conn.Yield
	}
	s.open(conn.Config{Split: frame.Fixed(4)}, conntest.Manual())
	s.Settle()
	before := s.Reads()
	var stream string
	var want []string
	for n := 1; n <= 20; n++ {
		stream += fmt.Sprintf("%04d", n)
		want = append(want, fmt.Sprintf("frame %04d", n), fmt.Sprintf("marker %04d", n))
	}
	s.Feed(stream)
	s.Settle()
	require.Equal(t, before+1, s.Reads(), "all 20 came in one read")
	assert.Equal(t, want, order, "each marker comes before the next frame but one")
}

func TestRCV12_AfterYieldTheRestNeedsNoReadiness(t *testing.T) {
	for name, yield := range map[string]error{"Yield": conn.Yield, "Yield, wrapped": fmt.Errorf("others first: %w", conn.Yield)} {
		t.Run(name, func(t *testing.T) {
			s := liveScene(t)
			s.rec.Return = func(_ *conn.Conn, data []byte) error {
				if string(data) == "AAAAA" {
					return yield
				}
				return nil
			}
			s.open(conn.Config{Split: frame.Fixed(5)}, conntest.Manual())
			s.Settle()
			s.skip()
			before := s.Reads()
			s.Feed("AAAAABBBBB")
			s.Turn()
			s.want("the first in this turn", frames("AAAAA")...)
			require.Zero(t, s.Unread(), "nothing is left to be reported")
			require.True(t, s.Driver().Pending(), "another turn is wanted")
			s.Turn()
			s.want("the second in the next", frames("BBBBB")...)
			assert.Equal(t, before+1, s.Reads())
			assert.Equal(t, s.turnOf[`OnReceived "AAAAA"`]+1, s.turnOf[`OnReceived "BBBBB"`])
			assert.False(t, s.Driver().Pending(), "then it rests")
		})
	}
}

func TestRCV13_AFloodLeavesRoomForOthers(t *testing.T) {
	const flood, budget = 10 << 20, 64 << 10
	var m conn.Memory
	a := liveScene(t)
	marked := -1 // bytes delivered when the marker ran
	a.once("OnReceived", func(c *conn.Conn) {
		a.marker(func() { marked = int(c.Stats().BytesRead) })
	})
	a.open(conn.Config{}, conntest.Manual(), conntest.Shared(&m))
	b := liveScene(t)
	b.rec.Return = func(c *conn.Conn, data []byte) error {
		_, err := c.Send([]byte("pong"))
		return err
	}
	b.open(conn.Config{Split: frame.Fixed(4)}, conntest.Manual(), conntest.Shared(&m))
	a.Settle()
	b.Settle()

	data := big(1 << 20)
	for range flood / len(data) {
		a.Feed(data)
	}
	pings, most := 0, 0
	for a.Unread() > 0 { // a loop gives them turns by turns
		before := a.Conn().Stats().BytesRead
		a.Turn()
		most = max(most, int(a.Conn().Stats().BytesRead-before))
		if a.Unread() == 0 {
			break
		}
		b.Feed("ping")
		b.Turn()
		assert.Equal(t, "pong", b.Wire(), "the other one is answered in its next turn")
		pings++
	}
	a.Settle()
	require.EqualValues(t, flood, a.Conn().Stats().BytesRead)
	require.Greater(t, pings, 100)
	assert.Equal(t, budget, most, "no turn reads more than one buffer")
	assert.Positive(t, marked)
	assert.LessOrEqual(t, marked, 131_072, "the marker waited for so many bytes")
	assert.True(t, strings.Repeat(data, flood/len(data)) == a.rec.Received())
}

func TestRCV15_AnEchoOfMemoryThatIsOverwritten(t *testing.T) {
	for name, layers := range map[string]bool{"plain": false, "through a layer": true} {
		t.Run(name, func(t *testing.T) {
			s := liveScene(t)
			var given []byte
			s.rec.Return = func(c *conn.Conn, data []byte) error {
				given = data
				_, err := c.Send(data)
				return err
			}
			cfg := conn.Config{Split: frame.Prefixed(2, 1000)}
			if layers {
				cfg.Layers = append(cfg.Layers, s.layer("mask", masker(0x5a)))
			}
			s.open(cfg)
			var sent, want strings.Builder
			for n := range 1000 {
				body := fmt.Sprintf("%d:%s", n, big(n%251))
				sent.Write(frame.AppendPrefix(nil, 2, len(body)))
				sent.WriteString(body)
				want.WriteString(body)
			}
			in, out := sent.String(), want.String()
			if layers {
				in, out = string(masked([]byte(in), 0x5a)), string(masked([]byte(out), 0x5a))
			}
			for at := 0; at < len(in); at += 1777 {
				s.Feed(in[at:min(at+1777, len(in))])
			}
			require.EqualValues(t, 1000, s.Conn().Stats().Received)
			for _, b := range given {
				require.Equal(t, byte(0xff), b, "the rig did overwrite what the handler was given")
			}
			assert.True(t, out == s.Wire(), "the echo is right")
		})
	}
}

func TestRCV16_ReadMemoryIsHeldForARestOnly(t *testing.T) {
	for name, layers := range map[string]bool{"plain": false, "through a layer": true} {
		t.Run(name, func(t *testing.T) {
			s := liveScene(t)
			cfg := conn.Config{Split: frame.Fixed(4)}
			if layers {
				cfg.Layers = append(cfg.Layers, s.layer("pass", nil))
			}
			s.open(cfg)
			s.skip()
			require.Zero(t, s.Memory().InUse(), "an idle connection holds nothing")
			s.Feed("AAAABB")
			s.want("one frame", frames("AAAA")...)
			assert.Positive(t, s.Memory().InUse(), "2 bytes are held")
			assert.LessOrEqual(t, s.Memory().InUse(), 1024, "little is held for them")
			s.Feed("BB")
			s.want("the other", frames("BBBB")...)
			assert.Zero(t, s.Memory().InUse(), "nothing is held")
		})
	}
}

func TestRCV17_SplitFunctionsThatMisbehave(t *testing.T) {
	cases := map[string]struct {
		split bufio.SplitFunc
		is    error
	}{
		"a negative advance":              {func([]byte, bool) (int, []byte, error) { return -1, nil, nil }, bufio.ErrNegativeAdvance},
		"a negative advance with a token": {func(p []byte, _ bool) (int, []byte, error) { return -1, p, nil }, bufio.ErrNegativeAdvance},
		"an advance beyond the data":      {func(p []byte, _ bool) (int, []byte, error) { return len(p) + 1, p, nil }, bufio.ErrAdvanceTooFar},
		"empty tokens for ever":           {func([]byte, bool) (int, []byte, error) { return 0, []byte{}, nil }, nil},
		"the same token for ever":         {func(p []byte, _ bool) (int, []byte, error) { return 0, p, nil }, nil},
		"an error":                        {func([]byte, bool) (int, []byte, error) { return 0, nil, errEnough }, errEnough},
	}
	for name, k := range cases {
		t.Run(name, func(t *testing.T) {
			var m conn.Memory
			other := liveScene(t)
			other.open(conn.Config{Split: frame.Fixed(4)}, conntest.Shared(&m))
			other.Feed("abc")
			s := newScene(t)
			s.open(conn.Config{Split: k.split}, conntest.Manual(), conntest.Shared(&m))
			s.Settle()
			s.skip()
			s.Feed("data", "more")
			s.Turn()
			closed, reset := s.Closed()
			require.True(t, closed, "within one turn")
			assert.True(t, reset)
			assert.LessOrEqual(t, s.count("OnReceived"), 200)
			reads := s.Reads()
			other.skip()
			other.Feed("d", "efgh")
			other.want("the other connection goes on", frames("abcd", "efgh")...)
			other.Do(func(c *conn.Conn) { c.Abort(nil) })

			s.Settle()
			assert.Equal(t, 1, s.count("OnClosed"))
			assertClosed(t, s.ends.closed, conn.CauseFrame)
			assert.ErrorContains(t, s.ends.closed, "frame")
			if k.is != nil {
				assert.ErrorIs(t, s.ends.closed, k.is)
			}
			assert.Equal(t, reads, s.Reads(), "no read after the end")
		})
	}
	t.Run("empty tokens for ever, and a handler that yields after each", func(t *testing.T) {
		s := newScene(t)
		s.rec.Return = func(*conn.Conn, []byte) error { return conn.Yield }
		s.open(conn.Config{Split: func([]byte, bool) (int, []byte, error) { return 0, []byte{}, nil }}, conntest.Manual())
		s.Settle()
		s.Feed("data")
		for turn := 0; turn < 1000 && !s.Done(); turn++ {
			s.Turn()
		}
		require.True(t, s.Done(), "it goes on without end")
		assertClosed(t, s.ends.closed, conn.CauseFrame)
	})
}

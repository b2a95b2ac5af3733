package conn_test

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/conn/frame"
)

// holdWindow is for how long nothing may happen before a test says that nothing did.
const holdWindow = 500 * time.Millisecond

// liveScene prepares a scene that may end with an open connection: it is aborted then, so that what it holds shows.
func liveScene(t *testing.T) *scene {
	s := newScene(t)
	t.Cleanup(func() {
		if s.Rig != nil && !t.Failed() && !s.Done() {
			s.Do(func(c *conn.Conn) { c.Abort(nil) })
			s.Settle()
		}
	})
	return s
}

// openLive is liveScene and open.
func openLive(t *testing.T, cfg conn.Config, opts ...conntest.Option) *scene {
	s := liveScene(t)
	s.open(cfg, opts...)
	return s
}

// wantNothing lets the hold window pass, and asserts that no call came in it, nor any since the last want.
func (s *scene) wantNothing(what string) {
	s.t.Helper()
	s.Advance(holdWindow)
	s.want(what)
}

// frames are the calls that deliver p, one for each.
func frames(p ...string) (calls []string) {
	for _, f := range p {
		calls = append(calls, fmt.Sprintf("OnReceived %q", f))
	}
	return calls
}

func TestRCV1_OneSendInFramesOfFour(t *testing.T) {
	s := openLive(t, conn.Config{Split: frame.Fixed(4)})
	s.want("connected", "OnConnected")
	s.Feed("hi there, how are you???")
	s.want("six frames", frames("hi t", "here", ", ho", "w ar", "e yo", "u???")...)
	s.wantNothing("and nothing else")
}

func TestRCV2_APartOfAFrameIsHeld(t *testing.T) {
	s := openLive(t, conn.Config{Split: frame.Fixed(4)})
	s.skip()
	s.Feed("AAAABBBBCC")
	s.want("two whole frames", frames("AAAA", "BBBB")...)
	require.Zero(t, s.Unread(), "the system has nothing left: the 2 bytes are held")
	require.EqualValues(t, 10, s.Conn().Stats().BytesRead)
	s.wantNothing("2 bytes make no frame")
	s.Feed("CC")
	s.want("with 2 more they do", frames("CCCC")...)
	s.wantNothing("nothing is left")
}

func TestRCV3_WhereverTheStreamIsCut(t *testing.T) {
	var stream string
	var want []string
	for _, n := range []int{0, 1, 7, 300, 5000} {
		body := big(n)
		stream += string(frame.AppendPrefix(nil, 4, n)) + body
		want = append(want, body)
	}
	cfg := conn.Config{Split: frame.Prefixed(4, 5000)}
	m := new(conn.Memory)
	// A plain handler, for there are thousands of connections.
	deliver := func(pieces ...string) []string {
		h := &collector{}
		r := conntest.New(h, cfg, conntest.Shared(m), conntest.Checked(t))
		r.Feed(pieces...)
		r.Do(func(c *conn.Conn) { c.Abort(nil) })
		return h.frames
	}
	for cut := 1; cut < len(stream); cut++ {
		require.Equal(t, want, deliver(stream[:cut], stream[cut:]), "cut after %d bytes", cut)
	}
	require.Equal(t, want, deliver(strings.Split(stream, "")...), "byte by byte")
	assert.Zero(t, m.InUse())
}

// A collector keeps what it received.
type collector struct {
	conn.Defaults
	frames []string
}

func (h *collector) OnReceived(_ *conn.Conn, data []byte) error {
	h.frames = append(h.frames, string(data))
	return nil
}

func TestRCV4_WithoutASplit(t *testing.T) {
	s := openLive(t, conn.Config{})
	s.skip()
	data := big(100_000)
	for at, n := 0, 1; at < len(data); at, n = at+n, n*3 {
		s.Feed(data[at:min(at+n, len(data))])
	}
	require.Greater(t, s.count("OnReceived"), 10, "it came in several pieces")
	assert.True(t, data == s.rec.Received(), "the chunks joined are the stream")
	assert.Zero(t, s.count(`OnReceived ""`), "no chunk is empty")
	s.skip()

	reads := s.Reads()
	s.Feed("")
	require.Equal(t, reads+1, s.Reads(), "the readiness led to a read")
	s.wantNothing("but there was nothing to tell")
}

func TestRCV5_EachFraming(t *testing.T) {
	prefixed := func(width int) func(string) string {
		return func(p string) string { return string(frame.AppendPrefix(nil, width, len(p))) + p }
	}
	ended := func(end string) func(string) string { return func(p string) string { return p + end } }
	withEmpty, without := []string{"one", "", "three"}, []string{"one", "two", "six"}
	cases := map[string]struct {
		split    bufio.SplitFunc
		encode   func(string) string
		messages []string
	}{
		"fixed":           {frame.Fixed(3), ended(""), without}, // it cannot express an empty one
		"prefix of 1":     {frame.Prefixed(1, 100), prefixed(1), withEmpty},
		"prefix of 2":     {frame.Prefixed(2, 100), prefixed(2), withEmpty},
		"prefix of 4":     {frame.Prefixed(4, 100), prefixed(4), withEmpty},
		"prefix of 8":     {frame.Prefixed(8, 100), prefixed(8), withEmpty},
		"uvarint":         {frame.Varint(100), func(p string) string { return string(frame.AppendVarint(nil, len(p))) + p }, withEmpty},
		"delimiter":       {frame.Delimited("#*", 100), ended("#*"), withEmpty},
		"line":            {frame.Lines(100), ended("\n"), withEmpty},
		"line with CR":    {frame.Lines(100), ended("\r\n"), withEmpty},
		"bufio.ScanLines": {bufio.ScanLines, ended("\n"), withEmpty},
	}
	for name, k := range cases {
		t.Run(name, func(t *testing.T) {
			var stream string
			for _, p := range k.messages {
				stream += k.encode(p)
			}
			for what, pieces := range map[string][]string{"at once": {stream}, "byte by byte": strings.Split(stream, "")} {
				s := openLive(t, conn.Config{Split: k.split})
				s.skip()
				s.Feed(pieces...)
				s.want(what, frames(k.messages...)...)
				s.wantNothing("exactly these")
			}
		})
	}
}

func TestRCV6_AFrameThatIsAnnouncedTooLong(t *testing.T) {
	s := newScene(t)
	s.open(conn.Config{Split: frame.Prefixed(4, 1000)})
	s.skip()
	first := strings.Repeat("x", 1000)
	s.Feed(string(frame.AppendPrefix(nil, 4, 1000)) + first)
	s.want("1,000 bytes are accepted", `OnReceived "x"*1000`)
	head := string(frame.AppendPrefix(nil, 4, 1001))
	s.Feed(head[:3])
	s.wantNothing("the header is not complete")
	s.Feed(head[3:])
	s.want("1,001 are refused before the first of them came", "OnClosed...")
	assertClosed(t, s.ends.closed, conn.CauseFrame)
	assert.ErrorIs(t, s.ends.closed, bufio.ErrTooLong)
	assert.ErrorContains(t, s.ends.closed, "1001")
	assert.ErrorContains(t, s.ends.closed, "1000")
	_, reset := s.Closed()
	assert.True(t, reset)
}

func TestRCV7_FramesThatCannotBe(t *testing.T) {
	cases := map[string]struct {
		split bufio.SplitFunc
		max   int
		input string
		says  string
	}{
		"a prefix with the top bit set": {frame.Prefixed(8, 1000), 1000, "\x80\x00\x00\x00\x00\x00\x00\x05hello", "9223372036854775813"},
		"a uvarint without end":         {frame.Varint(1000), 1000, strings.Repeat("\x80", 11), "varint"},
		"a delimiter that never comes":  {frame.Delimited("#", 1024), 1024, strings.Repeat("x", 1025), "1024"},
		"a longer one":                  {frame.Delimited("#*", 1024), 1024, strings.Repeat("x", 1026), "1024"},
		"a line that never ends":        {frame.Lines(1024), 1024, strings.Repeat("x", 1026), "1024"},
		"a split without a limit":       {bufio.ScanLines, 2000, strings.Repeat("x", 100_000), "MaxFrame"},
	}
	for name, k := range cases {
		for _, piece := range []int{len(k.input), 1000, 1} {
			t.Run(fmt.Sprintf("%s, %d at a time", name, piece), func(t *testing.T) {
				s := newScene(t)
				s.open(conn.Config{Split: k.split, MaxFrame: 2000})
				s.skip()
				for at := 0; at < len(k.input) && !s.Done(); at += piece {
					s.Feed(k.input[at:min(at+piece, len(k.input))])
					require.LessOrEqual(t, s.Memory().InUse(), k.max+64<<10, "after %d bytes", at+piece)
				}
				s.want("an abort", "OnClosed...")
				assertClosed(t, s.ends.closed, conn.CauseFrame)
				assert.ErrorContains(t, s.ends.closed, k.says)
				_, reset := s.Closed()
				assert.True(t, reset)
			})
		}
	}
}

func TestRCV8_ManyFramesAndOneLargeFrame(t *testing.T) {
	t.Run("100 frames of 1,000 bytes", func(t *testing.T) {
		s := openLive(t, conn.Config{Split: frame.Fixed(1000)})
		s.skip()
		var stream, want []string
		for n := range 100 {
			fill := string([]byte{byte(n)})
			stream = append(stream, strings.Repeat(fill, 1000))
			want = append(want, fmt.Sprintf("OnReceived %q*1000", fill))
		}
		s.Feed(strings.Join(stream, ""))
		s.want("in order, intact", want...)
	})
	t.Run("one frame of 1,000,000 bytes", func(t *testing.T) {
		s := openLive(t, conn.Config{Split: frame.Fixed(1_000_000), MaxFrame: 1_000_000})
		s.skip()
		data := big(1_000_000)
		s.Feed(data[:999_999])
		s.wantNothing("one byte is missing")
		require.LessOrEqual(t, s.Memory().InUse(), 3_000_000, "memory follows the bytes received")
		s.Feed(data[999_999:])
		s.want("one frame", fmt.Sprintf("OnReceived %q... (1000000 bytes)", data[:16]))
		assert.True(t, data == s.rec.Received())
		assert.Zero(t, s.Memory().InUse())
	})
}

func TestRCV9_NothingIsDeliveredAfterAbort(t *testing.T) {
	s := newScene(t)
	aborted := false
	s.on(`OnReceived "AAAA"`, func(c *conn.Conn) {
		c.Abort(errEnough)
		aborted = true
	})
	s.on("OnClosed", func(*conn.Conn) { assert.True(t, aborted, "OnClosed came before Abort returned") })
	s.open(conn.Config{Split: frame.Fixed(4)})
	before := s.Reads()
	s.Feed("AAAABBBB")
	require.EqualValues(t, 8, s.Conn().Stats().BytesRead, "both frames came in one read")
	s.Feed("CCCC") // must not be read: that the rig would object to, too
	s.want("only the first", "OnConnected", `OnReceived "AAAA"`, "OnClosed...")
	assert.Equal(t, before+1, s.Reads(), "no read after Abort")
	assertClosed(t, s.ends.closed, conn.CauseAbort)
	s.wantNothing("OnClosed once")
}

func TestRCV10_AnErrorFromOnReceived(t *testing.T) {
	s := newScene(t)
	s.rec.Return = func(*conn.Conn, []byte) error { return fmt.Errorf("no: %w", errEnough) }
	s.open(conn.Config{Split: frame.Fixed(4)})
	s.Feed("AAAABBBB")
	require.EqualValues(t, 8, s.Conn().Stats().BytesRead, "both frames came in one read")
	s.want("the second is not delivered", "OnConnected", `OnReceived "AAAA"`, "OnClosed...")
	assertClosed(t, s.ends.closed, conn.CauseHandler)
	assert.ErrorIs(t, s.ends.closed, errEnough)
	_, reset := s.Closed()
	assert.True(t, reset, "the peer sees a reset")
}

func TestRCV14_SetSplitAppliesToBytesAlreadyRead(t *testing.T) {
	cases := map[string]struct {
		split bufio.SplitFunc
		want  []string
	}{
		"another frame length": {frame.Fixed(8), frames("LEN8", "abcdefgh")},
		"no framing":           {nil, frames("LEN8", "abcdefgh")},
		"a shorter one":        {frame.Fixed(3), frames("LEN8", "abc", "def")},
	}
	for name, k := range cases {
		t.Run(name, func(t *testing.T) {
			s := liveScene(t)
			s.on(`OnReceived "LEN8"`, func(c *conn.Conn) { c.SetSplit(k.split) })
			s.open(conn.Config{Split: frame.Fixed(4)})
			s.skip()
			before := s.Reads()
			s.Feed("LEN8abcdefgh")
			s.want("the new split from the next frame on", k.want...)
			assert.Equal(t, before+1, s.Reads(), "all of it came in one read")
		})
	}
	t.Run("in a message, to bytes that made no frame", func(t *testing.T) {
		s := openLive(t, conn.Config{Split: frame.Fixed(100)})
		s.skip()
		s.Feed("abcdef")
		s.wantNothing("no frame of 100")
		s.Do(func(c *conn.Conn) { c.SetSplit(frame.Fixed(3)) })
		s.want("but two of 3, without any readiness", frames("abc", "def")...)
	})
}

func TestRCV18_AStreamThatEndsInsideAFrame(t *testing.T) {
	t.Run("a part of a frame is not dropped silently", func(t *testing.T) {
		s := newScene(t)
		s.open(conn.Config{Split: frame.Fixed(4)})
		s.Feed("AAAABB")
		s.FeedEOF()
		s.want("reported twice", "OnConnected", `OnReceived "AAAA"`, "OnEOF...", "OnClosed...")
		assertClosed(t, s.ends.closed, conn.CauseTruncated)
		assert.ErrorContains(t, s.ends.closed, "truncated")
		assert.ErrorContains(t, s.ends.eof, "2 bytes")
		assert.True(t, s.FIN(), "what we had to send was not cut")
	})
	t.Run("bufio.ScanLines takes the last line as it is", func(t *testing.T) {
		s := newScene(t)
		s.open(conn.Config{Split: bufio.ScanLines})
		s.Feed("a\nb")
		s.FeedEOF()
		s.want("the split was asked at the end", "OnConnected", `OnReceived "a"`, `OnReceived "b"`, "OnEOF", "OnClosed")
		assert.NoError(t, s.ends.eof)
		assert.NoError(t, s.ends.closed)
	})
	t.Run("the end that comes alone", func(t *testing.T) {
		s := newScene(t)
		s.open(conn.Config{Split: bufio.ScanLines})
		s.FeedEOF()
		s.want("no empty frame", "OnConnected", "OnEOF", "OnClosed")
		assert.NoError(t, s.ends.closed)
	})
	t.Run("a split that ends the stream", func(t *testing.T) {
		s := newScene(t)
		s.open(conn.Config{Split: func(data []byte, _ bool) (int, []byte, error) {
			return len(data), data, bufio.ErrFinalToken
		}})
		s.Feed("last", "ignored")
		s.FeedEOF()
		s.want("the rest is not delivered", "OnConnected", `OnReceived "last"`, "OnEOF", "OnClosed")
		require.False(t, errors.Is(s.ends.closed, bufio.ErrFinalToken))
		assert.NoError(t, s.ends.closed)
	})
}

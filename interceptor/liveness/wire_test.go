package liveness_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor/liveness"
)

func frameOf(kind byte, payload string) string {
	n := len(payload)
	return string([]byte{kind, byte(n >> 16), byte(n >> 8), byte(n)}) + payload
}

func data(p string) string { return frameOf(0, p) }

func timings(timeout, minSpeak time.Duration) string {
	return frameOf(2, micros(timeout)+micros(minSpeak))
}

func bye(code byte, reason string) string { return frameOf(3, string([]byte{0, code})+reason) }

// helloWith is a HELLO of which one thing is different: the bytes at off.
func helloWith(off int, bytes string) string {
	p := []byte(hello(4*s, 0))
	copy(p[4+off:], bytes)
	return string(p)
}

func helloExtended(x string) string {
	p := hello(4*s, 0)
	return frameOf(1, p[4:4+32]+string([]byte{byte(len(x) >> 8), byte(len(x)), 0, 0})+x)
}

func TestTheFormatToTheByte(t *testing.T) {
	e := open(t, framed(t, liveness.Config{Timeout: 4 * s, MinSpeak: 1500*us + 1}))
	wire := e.Wire()
	require.Len(t, wire, 40)
	assert.Equal(t, "\x01\x00\x00\x24FLM1\x01\x01\x00\x00"+"\x00\x00\x00\x00\x00\x3d\x09\x00"+"\x00\x00\x00\x00\x00\x00\x05\xdd", wire[:28])
	assert.Equal(t, "\x00\x00\x00\x00", wire[36:])
	e.Feed(hello(2*s, 0))
	e.send("abc")
	assert.Equal(t, "\x00\x00\x00\x03abc", e.Wire())
	e.Do(func(c *conn.Conn) {
		_, err := c.Send([]byte("d"), nil, []byte("ef"))
		assert.NoError(t, err)
		_, err = c.Send()
		assert.NoError(t, err)
	})
	assert.Equal(t, "\x00\x00\x00\x03def", e.Wire(), "one frame for a Send, none for an empty one")
	e.Do(func(*conn.Conn) { assert.NoError(t, e.layer().SetTimeout(liveness.Never)) })
	assert.Equal(t, "\x02\x00\x00\x10"+"\x00\x00\x00\x00\x00\x00\x00\x00"+"\x00\x00\x00\x00\x00\x00\x05\xdd", e.Wire())
	e.Advance(500 * ms)
	assert.Equal(t, "\x00\x00\x00\x00", e.Wire())
	e.Do((*conn.Conn).Close)
	assert.Equal(t, "\x03\x00\x00\x02\x00\x00", e.Wire())
	assert.True(t, e.FIN())
}

// A send is cut where the format wants it, whatever its pieces are.
func TestLargeSendsAreCut(t *testing.T) {
	for _, sizes := range [][]int{{65_535}, {65_536}, {200_000}, {1, 65_534, 1}, {65_000, 65_000, 65_000}, {0, 70_000, 0, 3}} {
		w := pair(t, liveness.Config{}, liveness.Config{})
		c := count(w)
		var bufs [][]byte
		want := ""
		for i, n := range sizes {
			part := strings.Repeat(string(rune('a'+i)), n)
			bufs = append(bufs, []byte(part))
			want += part
		}
		w.a.Do(func(c *conn.Conn) {
			_, err := c.Send(bufs...)
			assert.NoError(t, err)
		})
		w.carry()
		require.Equal(t, len(want), len(w.b.rec.Received()), "%v", sizes)
		for i, n := range c.sizes[w.a] {
			if i < len(c.sizes[w.a])-1 {
				assert.Equal(t, 65_535, n)
			}
		}
		assert.Len(t, c.sizes[w.a], (len(want)+65_534)/65_535)
	}
}

// What was received is accepted in any length.
func TestALargeFrameOfThePeer(t *testing.T) {
	e := open(t, framed(t, liveness.Config{}))
	e.Feed(hello(h, 0))
	const n = 1<<24 - 1
	e.Feed("\x00\xff\xff\xff" + strings.Repeat("x", n))
	assert.Equal(t, uint64(n), uint64(len(e.rec.Received())))
}

// scene is what a side tells of a conversation, without the pieces in which it came.
func scene(t *testing.T, feed func(e *side)) string {
	t.Helper()
	e := open(t, framed(t, liveness.Config{Timeout: h}))
	feed(e)
	story := fmt.Sprintf("received %q", e.rec.Received())
	for _, ev := range e.events {
		story += ", " + text(ev)
	}
	for _, call := range e.calls() {
		if !strings.HasPrefix(call, "OnReceived") {
			story += ", " + call
		}
	}
	return fmt.Sprintf("%s; %s; ended %v; peer's T %v", story, e.layer().Status().State, e.ending(), e.layer().Status().PeerTimeout)
}

var conversation = hello(4*s, ms) + data("hello") + data("") + timings(8*s, 2*ms) + frameOf(0x80, "later") + frameOf(0xff, "") +
	data("world") + helloLess() + bye(0, "so long")

func helloLess() string { return data("!") }

func TestLIV24_EveryCutOfAConversation(t *testing.T) {
	whole := scene(t, func(e *side) {
		e.Feed(conversation)
		e.FeedEOF()
	})
	assert.Contains(t, whole, `received "helloworld!"`)
	assert.Contains(t, whole, "peer timings: timeout 4s, speaks at most every 1ms, peer timings: timeout 8s, speaks at most every 2ms")
	assert.Contains(t, whole, "OnConnected, OnEOF; Ended; ended <nil>")
	for i := 1; i < len(conversation); i++ {
		got := scene(t, func(e *side) {
			e.Feed(conversation[:i], conversation[i:])
			e.FeedEOF()
		})
		require.Equal(t, whole, got, "cut at %d", i)
	}
	got := scene(t, func(e *side) {
		for _, b := range []byte(conversation) {
			e.Feed(string([]byte{b}))
		}
		e.FeedEOF()
	})
	assert.Equal(t, whole, got, "byte by byte")
	for step := 2; step < 12; step++ {
		got := scene(t, func(e *side) {
			for p := conversation; p != ""; p = p[min(step, len(p)):] {
				e.Feed(p[:min(step, len(p))])
			}
			e.FeedEOF()
		})
		require.Equal(t, whole, got, "%d bytes at a time", step)
	}
}

func TestLIV24_AnEndAtEveryByte(t *testing.T) {
	helloSize := len(hello(h, 0))
	for i := range len(conversation) {
		e := open(t, framed(t, liveness.Config{Timeout: h}))
		e.Feed(conversation[:i])
		e.FeedEOF()
		if i < helloSize {
			assert.ErrorIs(t, e.failed, io.ErrUnexpectedEOF, "byte %d", i)
			assert.Empty(t, e.events, "half a HELLO says nothing")
			continue
		}
		e.Do((*conn.Conn).Close)
		require.True(t, e.Done())
		assert.ErrorIs(t, e.closed, io.ErrUnexpectedEOF, "byte %d", i)
		var end *conn.CloseError
		require.ErrorAs(t, e.closed, &end)
		assert.Equal(t, conn.CauseTruncated, end.Cause)
		changed := strings.Index(conversation, timings(8*s, 2*ms)) + len(timings(0, 0))
		assert.Equal(t, i >= changed, len(e.events) == 2, "byte %d: half a TIMINGS changes nothing", i)
	}
	e := open(t, framed(t, liveness.Config{Timeout: h}))
	e.Feed(conversation)
	e.FeedEOF()
	e.Do((*conn.Conn).Close)
	assert.NoError(t, e.closed, "after BYE it is an end in order")
}

func TestLIV25_BadInput(t *testing.T) {
	ok := hello(4*s, 0)
	for _, test := range []struct {
		name string
		feed string
		err  error
		code byte // of the BYE that is sent
		says string
	}{
		{"another protocol: HTTP", "GET / HTTP/1.1\r\n", liveness.ErrNotLiveness, 2, "first byte is 0x47"},
		{"another protocol: TLS", "\x16\x03\x01\x02\x00\x01", liveness.ErrNotLiveness, 2, "0x16"},
		{"another protocol: one byte is enough", "S", liveness.ErrNotLiveness, 2, "0x53"},
		{"another magic", helloWith(0, "FLM2"), liveness.ErrNotLiveness, 2, "no HELLO"},
		{"a HELLO too short", frameOf(1, "FLM1"), liveness.ErrNotLiveness, 2, "no HELLO"},
		{"a frame for later first", frameOf(0x80, ""), liveness.ErrNotLiveness, 2, "0x80"},
		{"no common version: later", helloWith(4, "\x02\x07"), liveness.ErrVersion, 1, "speaks 2 to 7"},
		{"no common version: earlier", helloWith(4, "\x00\x00"), liveness.ErrVersion, 1, "speaks 0 to 0"},
		{"versions upside down", helloWith(4, "\x02\x01"), liveness.ErrProtocol, 3, "2 to 1"},
		{"flags", helloWith(7, "\x01"), liveness.ErrProtocol, 3, "reserved"},
		{"reserved bytes", helloWith(35, "\x01"), liveness.ErrProtocol, 3, "reserved"},
		{"extensions announced, and none there", helloWith(33, "\x01"), liveness.ErrProtocol, 3, "extensions"},
		{"extensions there, and not announced", frameOf(1, hello(4*s, 0)[4:]+"x"), liveness.ErrProtocol, 3, "extensions"},
		{"an extension that is cut off", helloExtended("\x07\x05abc"), liveness.ErrProtocol, 3, "extension"},
		{"an extension without a length", helloExtended("\x07"), liveness.ErrProtocol, 3, "extension"},
		{"DATA before HELLO", data("x"), liveness.ErrProtocol, 3, "before its HELLO"},
		{"a keepalive before HELLO", data(""), liveness.ErrProtocol, 3, "before its HELLO"},
		{"TIMINGS before HELLO", timings(s, 0), liveness.ErrProtocol, 3, "before its HELLO"},
		{"a second HELLO", ok + ok, liveness.ErrProtocol, 3, "second HELLO"},
		{"TIMINGS too short", ok + frameOf(2, "123456789012345"), liveness.ErrProtocol, 3, "15 bytes"},
		{"TIMINGS too long", ok + frameOf(2, "12345678901234567"), liveness.ErrProtocol, 3, "17 bytes"},
		{"BYE too short", ok + frameOf(3, "1"), liveness.ErrProtocol, 3, "1 bytes"},
		{"BYE too long", ok + bye(0, strings.Repeat("x", 257)), liveness.ErrProtocol, 3, "259 bytes"},
		{"DATA after BYE", ok + bye(0, "") + data("x"), liveness.ErrProtocol, 3, "after its BYE"},
		{"BYE after BYE", ok + bye(0, "") + bye(0, ""), liveness.ErrProtocol, 3, "after its BYE"},
		{"an unknown type", ok + frameOf(4, ""), liveness.ErrProtocol, 3, "0x04"},
		{"the last unknown type", ok + frameOf(0x7f, ""), liveness.ErrProtocol, 3, "0x7f"},
		{"a control frame too large", ok + "\x02\x00\x04\x01", liveness.ErrFrame, 3, "1025 bytes"},
		{"a HELLO too large", "\x01\xff\xff\xff", liveness.ErrFrame, 3, "16777215 bytes"},
		{"a frame for later too large", ok + "\x90\x00\x04\x01", liveness.ErrFrame, 3, "1025 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, byByte := range []bool{false, true} {
				e := open(t, framed(t, liveness.Config{Timeout: h}))
				e.Wire()
				rest, after := strings.CutPrefix(test.feed, ok)
				if after {
					e.Feed(ok) // OnConnected comes first
				}
				if byByte {
					for _, b := range []byte(rest) {
						e.Feed(string([]byte{b}))
					}
				} else {
					e.Feed(rest)
				}
				wire := e.Wire()
				require.GreaterOrEqual(t, len(wire), 6, "it says goodbye")
				assert.Equal(t, frameOf(3, wire[4:]), wire, "once, and nothing else")
				assert.Equal(t, "\x00"+string([]byte{test.code}), wire[4:6])
				assert.Contains(t, wire[6:], test.says, "and why")
				assert.True(t, e.FIN(), "in order, so that it arrives")
				e.FeedEOF()
				e.Settle()
				require.True(t, e.Done())
				assert.ErrorIs(t, e.ending(), test.err)
				assert.ErrorContains(t, e.ending(), test.says)
				if after {
					var end *conn.CloseError
					require.ErrorAs(t, e.closed, &end)
					assert.Equal(t, conn.CauseLayer, end.Cause)
				} else {
					var end *conn.ConnectError
					require.ErrorAs(t, e.failed, &end)
					assert.Equal(t, conn.StageHandshake, end.Stage)
				}
				assert.NotContains(t, e.rec.Received(), "x", "what is wrong is not delivered")
			}
		})
	}
}

// What this version need not understand does no harm.
func TestLIV25_InputThatIsAllowed(t *testing.T) {
	for name, feed := range map[string]string{
		"extensions":          helloExtended("\x07\x03abc\x01\x00"),
		"later versions, too": helloWith(4, "\x01\xff"),
		"older ones, too":     helloWith(4, "\x00\x01"),
		"the largest skipped": hello(s, 0) + frameOf(0xfe, strings.Repeat("x", 1024)),
		"an unknown goodbye":  hello(s, 0) + bye(200, "who knows"),
		"shutting down":       hello(s, 0) + bye(5, ""),
	} {
		e := open(t, framed(t, liveness.Config{Timeout: h}))
		e.Feed(feed)
		assert.Equal(t, 1, e.count("OnConnected"), name)
		assert.NoError(t, e.ending(), name)
		assert.Equal(t, conn.StateConnected, e.Conn().State(), name)
	}
}

// The peer's own refusal is its reason.
func TestThePeerRefuses(t *testing.T) {
	for code, want := range map[byte]error{1: liveness.ErrVersion, 2: liveness.ErrNotLiveness, 3: liveness.ErrProtocol, 4: liveness.ErrTooFast} {
		for _, before := range []string{"", hello(s, 0), hello(s, 0) + data("x")} {
			e := open(t, framed(t, liveness.Config{Timeout: h}))
			e.Wire()
			e.Feed(before) // OnConnected comes first
			e.Feed(bye(code, "because \xff"))
			assert.ErrorIs(t, e.ending(), want)
			var b *liveness.ByeError
			require.ErrorAs(t, e.ending(), &b)
			assert.Equal(t, "because \ufffd", b.Reason)
			assert.Empty(t, e.Wire(), "it gets no answer")
			if before != "" {
				assert.Equal(t, strings.Contains(before, "x"), e.rec.Received() == "x", "what it said before is delivered")
			}
		}
	}
	e := open(t, framed(t, liveness.Config{Timeout: h}))
	e.Feed(bye(0, "no time"))
	var b *liveness.ByeError
	require.ErrorAs(t, e.failed, &b, "who leaves before a HELLO was never there")
}

func TestLIV25_AConnectionToItself(t *testing.T) {
	e := open(t, framed(t, liveness.Config{Timeout: h}))
	e.Feed(e.Wire()) // what we said comes back
	e.FeedEOF()
	assert.ErrorIs(t, e.failed, liveness.ErrSelfConnect)
}

func TestLIV25_AFrameThatDoesNotEnd(t *testing.T) {
	ok := hello(liveness.Never, 0)
	for name, feed := range map[string]string{
		"a HELLO":         ok[:20],
		"half a head":     ok + "\x02\x00",
		"TIMINGS":         ok + timings(s, s)[:10],
		"a frame to skip": ok + frameOf(0x90, "12345")[:6],
		"one after one":   ok + timings(s, s)[:10] + timings(s, s)[10:] + "\x03",
	} {
		e := open(t, framed(t, liveness.Config{Timeout: h}), with(func(cfg *conn.Config) { cfg.StartTimeout = h }))
		e.Wire()
		e.Feed(feed)
		e.Wire()
		e.Advance(5 * s)
		wire := e.Wire()
		e.Advance(5*s - 1)
		wire += e.Wire()
		assert.NotContains(t, wire, "\x03\x00", name)
		e.Advance(1)
		assert.Contains(t, e.Wire(), "\x00\x03bad frame: it was not complete within 10s", name)
		e.FeedEOF()
		assert.ErrorIs(t, e.ending(), liveness.ErrFrame, name)
	}
	// The time is that of one frame, and DATA may take as long as it likes.
	e := open(t, framed(t, liveness.Config{Timeout: h}))
	e.Feed(ok)
	for range 10 {
		frame := timings(liveness.Never, s)
		e.Feed(frame[:9])
		e.Advance(9 * s)
		e.Feed(frame[9:] + "\x00\x00")
		e.Advance(20 * s)
		e.Feed("\x00\x05abc")
		e.Advance(20 * s)
		e.Feed("de")
	}
	assert.NoError(t, e.ending())
	assert.Equal(t, strings.Repeat("abcde", 10), e.rec.Received())
}

func TestLIV26_AFloodOfEmptyFrames(t *testing.T) {
	for name, empty := range map[string]string{"keepalives": data(""), "skipped": frameOf(0x80, "x"), "skipped and empty": frameOf(0x81, "")} {
		e := open(t, framed(t, liveness.Config{Timeout: h}))
		e.Feed(hello(liveness.Never, 0))
		e.Wire()
		for n := 0; e.ending() == nil; n++ { // 10,000 a second
			e.Feed(strings.Repeat(empty, 100))
			e.Advance(10 * ms)
			require.Less(t, n, 200, "2 s: %s", name)
			if e.FIN() {
				e.FeedEOF()
			}
		}
		assert.ErrorIs(t, e.closed, liveness.ErrFlood)
		assert.GreaterOrEqual(t, e.Now().Sub(e.began), 100*ms, "a thousand at once are allowed")
	}
	e := open(t, framed(t, liveness.Config{Timeout: h}))
	e.Feed(hello(liveness.Never, 0) + strings.Repeat(data(""), 1000))
	for range 5000 { // as many as are allowed, for as long as one likes, also past the end of the counter
		e.Advance(20 * ms)
		e.Feed(strings.Repeat(data(""), 20))
		if len(e.events) > 1 {
			e.events = e.events[:1]
		}
	}
	assert.NoError(t, e.ending())
	for range 20 { // and after any silence as many at once
		e.Advance(7321 * ms)
		e.Feed(strings.Repeat(data(""), 1000))
		assert.NoError(t, e.ending())
	}
	e.Feed(data(""))
	e.FeedEOF()
	assert.ErrorIs(t, e.ending(), liveness.ErrFlood, "one more is too many")
	// Frames with bytes in them are no flood.
	e = open(t, framed(t, liveness.Config{Timeout: h}))
	e.Feed(hello(liveness.Never, 0) + strings.Repeat(data("x"), 5000))
	assert.NoError(t, e.ending())
}

// Heard does not let a flood through, nor make one of what is none.
func TestAFloodBesideHeard(t *testing.T) {
	e := open(t, framed(t, liveness.Config{Timeout: h}))
	e.Feed(hello(liveness.Never, 0))
	for range 700 {
		e.Advance(100 * ms)
		e.Do(func(*conn.Conn) { e.layer().Heard() })
	}
	e.Feed(strings.Repeat(data(""), 1000))
	assert.NoError(t, e.ending())
	e.Feed(strings.Repeat(data(""), 2))
	e.FeedEOF()
	assert.ErrorIs(t, e.ending(), liveness.ErrFlood)
}

// A layer below that fails is not covered up.
func TestADownThatFails(t *testing.T) {
	broken := errors.New("broken")
	k := newLink(t, passive(t, liveness.Config{Timeout: s, Probe: ping}))
	k.fails = broken
	k.now = k.deadline
	assert.ErrorIs(t, k.layer.Expire(k, k.now), broken)
	assert.ErrorIs(t, k.layer.Speak(), nil, "the probe that failed counts as waiting")
	k = newLink(t, framed(t, liveness.Config{Timeout: s}))
	require.NoError(t, k.layer.Up(k, []byte(hello(s, 0))))
	k.takeDown()
	k.fails = broken
	assert.ErrorIs(t, k.layer.Down(k, [][]byte{[]byte("x")}), broken)
	k.takeDown()
	k.layer.Wrote(k, 1, 0)
	k.layer.Slept(k, h)
	require.Len(t, k.posts, 1)
	assert.ErrorIs(t, k.posts[0](), broken, "where no error can be returned, one is posted")
	k.layer.Wrote(k, 1, 0)
	assert.ErrorIs(t, k.layer.SetTimeout(2*s), broken)
	assert.ErrorIs(t, k.layer.CloseWrite(k), broken)

	k = newLink(t, framed(t, liveness.Config{Timeout: s}))
	k.fails = broken
	assert.ErrorIs(t, k.layer.Up(k, []byte("GET")), broken, "nor is what was to be said of it")
}

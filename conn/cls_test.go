package conn_test

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/conn/frame"
)

var errEnough = errors.New("enough")

// big is a payload that does not repeat within 251 bytes, so that a lost or doubled byte shows.
func big(n int) string {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i % 251)
	}
	return string(p)
}

func TestCLS1_CloseWithNothingQueued(t *testing.T) {
	t.Run("we begin", func(t *testing.T) {
		s := openScene(t, conn.Config{})
		s.want("connected", "OnConnected")
		s.Do((*conn.Conn).Close)
		require.True(t, s.FIN(), "FIN follows Close at once")
		s.want("the peer has not ended")
		s.FeedEOF()
		s.want("both directions have ended", "OnEOF", "OnClosed")
		assert.NoError(t, s.ends.closed)
	})
	t.Run("the peer begins", func(t *testing.T) {
		s := openScene(t, conn.Config{})
		require.False(t, s.FIN())
		s.FeedEOF()
		s.want("the default OnEOF closes", "OnConnected", "OnEOF", "OnClosed")
		assert.NoError(t, s.ends.closed)
		assert.True(t, s.FIN())
		_, reset := s.Closed()
		assert.False(t, reset)
	})
}

func TestCLS2_FINIsNeitherForgottenNorEarly(t *testing.T) {
	for _, name := range []string{"the system takes all", "the system takes 700 at a time"} {
		t.Run(name, func(t *testing.T) {
			s := openScene(t, conn.Config{})
			s.skip()
			small := strings.Contains(name, "700")
			if small {
				s.Allow(0)
			}
			data := big(10_000)
			s.Do(func(c *conn.Conn) {
				for i := range 10 {
					s.send(c, data[i*1000:(i+1)*1000])
				}
				c.Close()
			})
			for n := 0; small && n < 10_000; n += 700 {
				require.False(t, s.FIN(), "FIN after %d bytes", n)
				s.Allow(700)
			}
			assert.True(t, s.FIN())
			assert.Equal(t, data, s.Wire())
			s.FeedEOF()
			s.want("all settled, then closed", append(sents(1, 10), "OnEOF", "OnClosed")...)
			assert.NoError(t, s.ends.closed)
		})
	}
}

// throttledScene makes three sends of 2 bytes and one of 256,000, of which the system takes 100,000; and as many again
// in OnUnthrottled. then runs right after the last.
func throttledScene(t *testing.T, cfg conn.Config, then func(*conn.Conn)) *scene {
	s := newScene(t)
	s.once("OnUnthrottled", func(c *conn.Conn) {
		s.send(c, big(256_000))
		then(c)
	})
	s.open(cfg)
	s.Allow(100_006)
	s.Do(func(c *conn.Conn) {
		for range 3 {
			s.send(c, "ab")
		}
		s.send(c, big(256_000))
		assert.False(t, c.IsWriteable())
	})
	require.Greater(t, s.Conn().Stats().Pending, 65_536, "enough is pending")
	s.want("throttled", append(append([]string{"OnConnected"}, sents(1, 3)...), "OnThrottled")...)
	return s
}

func TestCLS3_CloseLosesNoAcceptedByte(t *testing.T) {
	s := throttledScene(t, conn.Config{}, (*conn.Conn).Close)
	total := 100_006
	for ; total+5_000 < 512_006; total += 5_000 {
		s.Allow(5_000)
		require.False(t, s.FIN(), "FIN after %d bytes", total)
	}
	require.Equal(t, conn.StateClosing, s.Conn().State())
	s.Allow(-1)
	assert.True(t, s.FIN())
	assert.Equal(t, "ababab"+big(256_000)+big(256_000), s.Wire())
	s.FeedEOF()
	s.want("nothing failed", "OnUnthrottled", "OnThrottled", "OnSent 4", "OnSent 5", "OnEOF", "OnClosed")
	assert.NoError(t, s.ends.closed)
}

func TestCLS4_ASecondCloseChangesNothing(t *testing.T) {
	s := openScene(t, conn.Config{})
	s.Allow(0)
	s.Do(func(c *conn.Conn) {
		s.send(c, "hello")
		require.True(t, c.IsWriteable())
		c.Close()
		s.refused(c, conn.ErrNotConnected)
		c.Close()
		c.CloseWrite()
		s.refused(c, conn.ErrNotConnected)
	})
	require.False(t, s.FIN())
	s.Allow(-1)
	require.True(t, s.FIN()) // a second CloseWrite of the socket is a violation
	s.Do(func(c *conn.Conn) { c.Close(); c.CloseWrite() })
	s.FeedEOF()
	s.want("one end", "OnConnected", "OnSent 1", "OnEOF", "OnClosed")
	assert.Equal(t, "hello", s.Wire())
}

func TestCLS5_CloseTimesOutWhileDraining(t *testing.T) {
	s := openScene(t, conn.Config{CloseTimeout: 300 * time.Millisecond})
	s.Allow(10)
	s.Do(func(c *conn.Conn) {
		s.send(c, "0123456789")
		s.send(c, big(100_000))
		c.Close()
	})
	s.want("the first was taken", "OnConnected", "OnSent 1", "OnThrottled")
	s.Advance(299 * time.Millisecond)
	s.want("not early")
	require.Equal(t, conn.StateClosing, s.Conn().State())
	s.Advance(time.Millisecond)
	s.want("the rest failed", "OnSendFailed 2", "OnClosed...")
	assertClosed(t, s.ends.closed, conn.CauseTimeout)
	assert.ErrorContains(t, s.ends.closed, "CloseTimeout")
	_, reset := s.Closed()
	assert.True(t, reset)
	assert.False(t, s.FIN())
}

// assertClosed asserts that err is a CloseError of this cause.
func assertClosed(t *testing.T, err error, cause conn.Cause) {
	t.Helper()
	var closed *conn.CloseError
	if assert.ErrorAs(t, err, &closed) {
		assert.Equal(t, cause.String(), closed.Cause.String())
		assert.Equal(t, cause == conn.CauseTimeout, closed.Timeout())
	}
}

func TestCLS6_CloseTimesOutWaitingForThePeersEnd(t *testing.T) {
	for _, floods := range []bool{false, true} {
		s := openScene(t, conn.Config{CloseTimeout: 300 * time.Millisecond})
		s.Do(func(c *conn.Conn) {
			s.send(c, "bye")
			c.Close()
		})
		require.True(t, s.FIN())
		s.want("all was taken", "OnConnected", "OnSent 1")
		for range 29 {
			s.Advance(10 * time.Millisecond)
			if floods {
				s.Feed(strings.Repeat("x", 1000))
			}
		}
		s.Advance(9 * time.Millisecond)
		if floods {
			require.Equal(t, 29, s.count("OnReceived"))
		}
		require.Zero(t, s.count("OnClosed"), "not early")
		s.Advance(time.Millisecond)
		require.Equal(t, 1, s.count("OnClosed"), "bytes coming in (%v) do not prolong it", floods)
		assertClosed(t, s.ends.closed, conn.CauseTimeout)
		assert.Equal(t, "bye", s.Wire())
	}
}

func TestCLS7_CloseDeliversWhatWasRead(t *testing.T) {
	s := newScene(t)
	s.once("OnReceived", (*conn.Conn).Close)
	s.open(conn.Config{Split: frame.Fixed(4)})
	before := s.Reads()
	s.Feed("AAAABBBB")
	require.Equal(t, before+1, s.Reads(), "both frames came in one read")
	s.want("the rest too", "OnConnected", `OnReceived "AAAA"`, `OnReceived "BBBB"`)
	s.FeedEOF()
	s.want("in order", "OnEOF", "OnClosed")
	assert.NoError(t, s.ends.closed)

	t.Run("also when the peer's end is known before", func(t *testing.T) {
		s := newScene(t)
		s.once("OnReceived", (*conn.Conn).Close)
		s.rec.Return = func(*conn.Conn, []byte) error { return conn.Yield }
		s.open(conn.Config{Split: frame.Fixed(4)}, conntest.Manual())
		s.Settle()
		s.Feed("AAAABBBBCCCC")
		s.FeedEOF()
		s.Settle()
		s.want("all of it, then the end", "OnConnected", `OnReceived "AAAA"`, `OnReceived "BBBB"`, `OnReceived "CCCC"`,
			"OnEOF", "OnClosed")
		assert.NoError(t, s.ends.closed)
	})
}

func TestCLS8_CloseInTheMiddleOfThePeersStream(t *testing.T) {
	s := openScene(t, conn.Config{})
	data := big(1_000_000)
	s.Feed(data[:300_000])
	require.Equal(t, data[:300_000], s.rec.Received())
	s.Do(func(c *conn.Conn) {
		s.send(c, "BYE")
		c.Close()
	})
	assert.Equal(t, "BYE", s.Wire())
	require.True(t, s.FIN())
	for i := 300_000; i < len(data); i += 100_000 {
		s.Feed(data[i : i+100_000])
	}
	assert.Equal(t, data[300_000:], s.rec.Received())
	closed, _ := s.Closed()
	require.False(t, closed)
	s.FeedEOF()
	closed, reset := s.Closed()
	assert.True(t, closed)
	assert.False(t, reset, "unread bytes must not become a reset")
	assert.NoError(t, s.ends.closed)
	assert.Equal(t, "OnClosed", s.all[len(s.all)-1])
}

func TestCLS9_CloseWriteGoesOnReading(t *testing.T) {
	s := openScene(t, conn.Config{})
	s.Allow(40_000)
	data, answer := big(100_000), big(1_000_000)
	s.Do(func(c *conn.Conn) {
		s.send(c, data)
		c.CloseWrite()
		s.refused(c, conn.ErrNotConnected)
	})
	require.False(t, s.FIN(), "60,000 bytes are queued")
	s.Allow(-1)
	assert.Equal(t, data, s.Wire())
	assert.True(t, s.FIN())
	assert.Equal(t, conn.StateConnected, s.Conn().State())
	for i := 0; i < len(answer); i += 50_000 {
		s.Feed(answer[i : i+50_000])
		s.Advance(time.Minute) // no CloseTimeout runs
	}
	assert.Equal(t, answer, s.rec.Received())
	s.Do(func(c *conn.Conn) { s.refused(c, conn.ErrNotConnected) })
	s.FeedEOF()
	require.Equal(t, 1, s.count("OnEOF"))
	assert.Equal(t, "OnClosed", s.all[len(s.all)-1])
	assert.NoError(t, s.ends.closed)
}

func TestCLS10_AnEchoServerAnswersAllBeforeItEnds(t *testing.T) {
	s := newScene(t)
	s.rec.Return = func(c *conn.Conn, data []byte) error {
		_, err := c.Send(data)
		return err
	}
	s.open(conn.Config{})
	s.Allow(10_000) // the peer does not read yet
	data := big(1 << 20)
	for i := 0; i < len(data); i += 1 << 16 {
		s.Feed(data[i : i+1<<16])
	}
	s.FeedEOF()
	require.Positive(t, s.Unread(), "reading waits for the peer to read")
	require.Zero(t, s.count("OnEOF"))
	s.Advance(500 * time.Millisecond)
	for range 100 {
		s.Allow(20_000)
	}
	assert.True(t, data == s.Wire(), "the peer gets exactly what it sent")
	assert.True(t, s.FIN())
	require.Positive(t, s.at("OnEOF"))
	for _, call := range s.all[s.at("OnEOF"):] {
		assert.NotContains(t, call, "OnReceived", "OnEOF comes after all data")
	}
	assert.NoError(t, s.ends.closed)
	assert.Equal(t, 1, s.count("OnClosed"))
}

func TestCLS11_AnAnswerInOnEOF(t *testing.T) {
	s := newScene(t)
	s.on("OnEOF", func(c *conn.Conn) {
		s.send(c, "12345")
		c.Close()
	})
	s.open(conn.Config{})
	s.Feed("request")
	s.FeedEOF()
	assert.Equal(t, "12345", s.Wire())
	s.want("answered, then closed", "OnConnected", `OnReceived "request"`, "OnEOF", "OnSent 1", "OnClosed")
	assert.True(t, s.FIN())
	assert.NoError(t, s.ends.closed)
}

func TestCLS12_AnOnEOFThatDoesNothing(t *testing.T) {
	s := newScene(t)
	s.rec.Stay = true
	s.open(conn.Config{})
	s.FeedEOF()
	s.want("the peer has ended", "OnConnected", "OnEOF")
	s.Advance(500 * time.Millisecond)
	require.False(t, s.FIN())
	s.doSend(big(100_000))
	assert.Equal(t, big(100_000), s.Wire())
	s.want("sending goes on", "OnSent 1")
	before := s.Now()
	s.Do((*conn.Conn).Close)
	s.want("the peer's end is known", "OnClosed")
	assert.Equal(t, before, s.Now())
	assert.NoError(t, s.ends.closed)
	assert.True(t, s.FIN())
}

func TestCLS13_AResetSettlesEverySend(t *testing.T) {
	for _, taken := range []int{0, 3, 5, 9} {
		s := openScene(t, conn.Config{})
		s.Allow(taken)
		s.Do(func(c *conn.Conn) {
			for range 3 {
				s.send(c, "abc")
			}
		})
		s.Reset()
		want := append([]string{"OnConnected"}, sents(1, taken/3)...)
		for i := taken/3 + 1; i <= 3; i++ {
			want = append(want, strings.Replace(sents(i, i)[0], "OnSent", "OnSendFailed", 1))
		}
		s.want("each has its outcome", append(want, "OnClosed...")...)
		var closed *conn.CloseError
		require.ErrorAs(t, s.ends.closed, &closed)
		assert.ErrorIs(t, s.ends.closed, syscall.ECONNRESET)
	}
}

func TestCLS14_AbortDropsTheQueue(t *testing.T) {
	s := openScene(t, conn.Config{})
	s.Allow(50_000)
	s.doSend(big(256_000))
	require.Greater(t, s.Conn().Stats().Pending, 65_536)
	s.want("throttled", "OnConnected", "OnThrottled")
	s.Do(func(c *conn.Conn) { c.Abort(errEnough) })
	s.want("failed and over", "OnSendFailed 1", "OnClosed...")
	assertClosed(t, s.ends.closed, conn.CauseAbort)
	assert.ErrorIs(t, s.ends.closed, errEnough)
	_, reset := s.Closed()
	assert.True(t, reset)
	s.Allow(-1)
	assert.Len(t, s.Wire(), 50_000)
}

func TestCLS15_TheFirstCauseStays(t *testing.T) {
	cases := map[string]struct {
		do    func(*conn.Conn)
		cause conn.Cause
		err   error
	}{
		"Abort twice":       {func(c *conn.Conn) { c.Abort(errEnough); c.Abort(errors.New("again")) }, conn.CauseAbort, errEnough},
		"Close after Abort": {func(c *conn.Conn) { c.Abort(errEnough); c.Close(); c.CloseWrite() }, conn.CauseAbort, errEnough},
		"Abort after Close": {func(c *conn.Conn) { c.Close(); c.Abort(errEnough) }, conn.CauseAbort, errEnough},
	}
	for name, k := range cases {
		t.Run(name, func(t *testing.T) {
			s := openScene(t, conn.Config{})
			before := s.Now()
			s.Do(k.do)
			s.want("one end", "OnConnected", "OnClosed...")
			assertClosed(t, s.ends.closed, k.cause)
			assert.ErrorIs(t, s.ends.closed, k.err)
			assert.Equal(t, before, s.Now(), "at once")
		})
	}
	t.Run("Abort a second after Close", func(t *testing.T) {
		s := openScene(t, conn.Config{})
		s.Do((*conn.Conn).Close)
		s.Advance(time.Second)
		s.want("closing", "OnConnected")
		s.Do(func(c *conn.Conn) { c.Abort(errEnough) })
		s.want("one end", "OnClosed...")
		assertClosed(t, s.ends.closed, conn.CauseAbort)
	})
}

func TestCLS16_CloseAndAbortInOnConnected(t *testing.T) {
	for _, dialed := range []bool{false, true} {
		for _, abort := range []bool{false, true} {
			s := newScene(t)
			s.on("OnConnected", func(c *conn.Conn) {
				if abort {
					c.Abort(errEnough)
				} else {
					c.Close()
				}
			})
			opts := []conntest.Option{conntest.Manual()}
			if dialed {
				opts = append(opts, conntest.Dialed())
			}
			s.open(conn.Config{}, opts...)
			if dialed {
				s.Connected()
			}
			s.Feed("early")
			s.Settle()
			if abort {
				s.want("no data after Abort", "OnConnected", "OnClosed...")
				assertClosed(t, s.ends.closed, conn.CauseAbort)
				assert.Equal(t, 5, s.Unread())
				continue
			}
			s.want("data after Close", "OnConnected", `OnReceived "early"`)
			s.FeedEOF()
			s.Settle()
			s.want("in order", "OnEOF", "OnClosed")
			assert.NoError(t, s.ends.closed)
		}
	}
}

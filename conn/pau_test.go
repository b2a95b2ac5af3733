package conn_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/conn/frame"
)

// pollers are the two ways in which readiness may be reported; what Pause, Resume and back-pressure arm must serve both.
var pollers = map[string][]conntest.Option{
	"edge-triggered":         nil,
	"only what is armed for": {conntest.ArmedOnly()},
}

func TestPAU1_APausedConnectionHearsNoData(t *testing.T) {
	for name, opts := range pollers {
		t.Run(name, func(t *testing.T) {
			s := liveScene(t)
			s.once("OnConnected", func(c *conn.Conn) {
				c.Pause()
				s.send(c, "data, please")
			})
			s.open(conn.Config{}, opts...)
			s.want("asked", "OnConnected", "OnSent 1")
			s.Feed("all ", "of it")
			s.wantNothing("paused")
			s.Do((*conn.Conn).Resume)
			s.want("resumed", frames("all ", "of it")...)
			s.Feed("more")
			s.want("and it goes on", frames("more")...)
		})
	}
}

func TestPAU2_ResumeDeliversNothingItself(t *testing.T) {
	s := liveScene(t)
	resumed := false
	s.once("OnReceived", (*conn.Conn).Pause)
	s.on(`OnReceived "BBBB"`, func(*conn.Conn) { assert.True(t, resumed, "it runs inside Resume") })
	s.open(conn.Config{Split: frame.Fixed(4)})
	before := s.Reads()
	s.Feed("AAAABBBBCCCC")
	s.want("paused on the first", "OnConnected", `OnReceived "AAAA"`)
	require.Zero(t, s.Unread(), "the others are read already")
	var resumedIn int
	s.Do(func(c *conn.Conn) {
		c.Resume()
		resumed = true
		resumedIn = s.Turns()
	})
	s.want("the others follow", frames("BBBB", "CCCC")...)
	assert.Greater(t, s.turnOf[`OnReceived "BBBB"`], resumedIn, "in a later turn, for this one has read")
	assert.Equal(t, before+1, s.Reads(), "without a new read")
}

func TestPAU3_PauseOnTheFirstAMiddleAndTheLastFrame(t *testing.T) {
	for name, opts := range pollers {
		t.Run(name, func(t *testing.T) {
			s := liveScene(t)
			s.on("OnReceived", func(c *conn.Conn) {
				switch s.all[len(s.all)-1] {
				case `OnReceived "0001"`, `OnReceived "0002"`, `OnReceived "0005"`:
					c.Pause()
				case `OnReceived "ping"`:
					s.send(c, "pong")
				}
			})
			s.open(conn.Config{Split: frame.Fixed(4)}, opts...)
			s.skip()
			before := s.Reads()
			s.Feed("00010002000300040005")
			for _, want := range [][]string{frames("0001"), frames("0002"), frames("0003", "0004", "0005")} {
				s.want("until the pause", want...)
				s.wantNothing("nothing while paused")
				s.Do((*conn.Conn).Resume)
			}
			require.Equal(t, before+1, s.Reads(), "all came in one read")
			s.wantNothing("nothing is left")
			s.Feed("ping")
			s.want("it still hears", `OnReceived "ping"`, "OnSent 1")
			assert.Equal(t, "pong", s.Wire())
		})
	}
}

func TestPAU4_PauseDoesNotCount(t *testing.T) {
	t.Run("two pauses, one resume", func(t *testing.T) {
		s := openLive(t, conn.Config{})
		s.skip()
		s.Do(func(c *conn.Conn) { c.Pause(); c.Pause() })
		s.Feed("data")
		s.wantNothing("paused")
		s.Do((*conn.Conn).Resume)
		s.want("data flows", frames("data")...)
	})
	t.Run("a resume without a pause", func(t *testing.T) {
		s := openLive(t, conn.Config{})
		s.skip()
		s.Do((*conn.Conn).Resume)
		s.wantNothing("nothing changes")
		s.Feed("more")
		s.want("data flows as before", frames("more")...)
		s.Do((*conn.Conn).Pause)
		s.Feed("data")
		s.wantNothing("one pause after it is enough")
		s.Do((*conn.Conn).Resume)
		s.want("data flows", frames("data")...)
	})
	t.Run("both inside one OnReceived", func(t *testing.T) {
		s := liveScene(t)
		s.on(`OnReceived "AAAA"`, func(c *conn.Conn) { c.Pause(); c.Resume() })
		s.open(conn.Config{Split: frame.Fixed(4)})
		s.skip()
		before := s.Reads()
		s.Feed("AAAABBBBCCCC")
		s.want("in order, without a new readiness", frames("AAAA", "BBBB", "CCCC")...)
		assert.Equal(t, before+1, s.Reads())
	})
}

func TestPAU5_PauseWithAFullReadBuffer(t *testing.T) {
	const buffer = 64 << 10
	for name, opts := range pollers {
		t.Run(name, func(t *testing.T) {
			s := liveScene(t)
			s.once("OnReceived", (*conn.Conn).Pause)
			s.open(conn.Config{Split: frame.Fixed(4)}, opts...)
			s.skip()
			data := big(buffer + 10_000)
			s.Feed(data)
			require.EqualValues(t, buffer, s.Conn().Stats().BytesRead, "the read buffer is full")
			require.Equal(t, 10_000, s.Unread())
			s.want("paused on the first frame", frames(data[:4])...)
			reads := s.Reads()
			s.wantNothing("nothing while paused")
			assert.Equal(t, reads, s.Reads(), "no read into a full buffer, whose 0 would look like the end")
			assert.Equal(t, conn.StateConnected, s.Conn().State())
			s.Do((*conn.Conn).Resume)
			assert.True(t, data == s.rec.Received(), "all bytes arrive in order")
			assert.Zero(t, s.count("OnEOF"))
		})
	}
}

func TestPAU6_NoticesGoBeforeData(t *testing.T) {
	s := liveScene(t)
	s.on("OnSent", (*conn.Conn).Pause)
	s.open(conn.Config{}, conntest.Manual())
	s.Settle()
	s.skip()
	s.doSend("hello")
	s.Turn()
	require.Equal(t, "hello", s.Wire(), "the send is complete")
	s.want("but not told yet")
	s.Feed("data")
	s.Settle()
	s.want("OnSent comes first, and pauses", "OnSent 1")
	require.Equal(t, 4, s.Unread())
	s.wantNothing("until Resume")
	s.Do((*conn.Conn).Resume)
	s.Settle()
	s.want("resumed", frames("data")...)
}

// pausedScenes are connections that are paused with unread bytes: none, or some that are in the socket or held.
func pausedScenes(t *testing.T, unread string, do func(t *testing.T, s *scene)) {
	cases := map[string]func(s *scene){
		"in the socket": func(s *scene) {
			s.Do((*conn.Conn).Pause)
			s.Feed(unread)
			require.Equal(t, len(unread), s.Unread())
		},
		"held": func(s *scene) {
			s.once("OnReceived", (*conn.Conn).Pause)
			s.Feed("\n" + unread)
			require.Zero(t, s.Unread())
			require.Positive(t, s.Memory().InUse())
		},
	}
	if unread == "" {
		cases = map[string]func(s *scene){"nothing unread": func(s *scene) { s.Do((*conn.Conn).Pause) }}
	}
	for name, prepare := range cases {
		for poller, opts := range pollers {
			t.Run(name+", "+poller, func(t *testing.T) {
				s := newScene(t)
				s.open(conn.Config{Split: headThenAll}, opts...)
				prepare(s)
				s.skip()
				s.rec.Received()
				do(t, s)
			})
		}
	}
}

// headThenAll cuts a line feed off, if there is one at the beginning, and otherwise all there is.
func headThenAll(p []byte, _ bool) (int, []byte, error) {
	switch {
	case len(p) == 0:
		return 0, nil, nil
	case p[0] == '\n':
		return 1, p[:1], nil
	}
	return len(p), p, nil
}

func TestPAU7_APauseDoesNotHideTheReset(t *testing.T) {
	for _, unread := range []string{"", big(10_000)} {
		pausedScenes(t, unread, func(t *testing.T, s *scene) {
			before := s.Now()
			s.Reset()
			s.want("without Resume", "OnClosed...")
			assert.Equal(t, before, s.Now(), "at once")
			assertClosed(t, s.ends.closed, conn.CauseRead)
			assert.ErrorIs(t, s.ends.closed, syscall.ECONNRESET)
		})
	}
}

func TestPAU8_APauseDoesNotHideTheEnd(t *testing.T) {
	pausedScenes(t, "", func(t *testing.T, s *scene) {
		s.FeedEOF()
		s.want("without Resume", "OnEOF", "OnClosed")
		assert.NoError(t, s.ends.closed)
	})
}

func TestPAU9_TheEndWaitsForTheBytesBeforeIt(t *testing.T) {
	unread := big(10_000)
	pausedScenes(t, unread, func(t *testing.T, s *scene) {
		s.FeedEOF()
		turns := s.Turns()
		s.wantNothing("neither data nor the end")
		assert.Equal(t, turns, s.Turns(), "it rests, though the end is known")
		assert.False(t, s.Driver().Pending())
		s.Do((*conn.Conn).Resume)
		assert.True(t, unread == s.rec.Received(), "the bytes come first")
		assert.Equal(t, []string{"OnEOF", "OnClosed"}, s.all[len(s.all)-2:], "then the end")
		assert.NoError(t, s.ends.closed)
	})
}

func TestPAU9_TheEndBehindAPartOfAFrame(t *testing.T) {
	s := newScene(t)
	s.open(conn.Config{Split: frame.Fixed(4)})
	s.Feed("AA")
	s.Do((*conn.Conn).Pause)
	s.skip()
	s.FeedEOF()
	s.wantNothing("bytes are unread, though no frame")
	s.Do((*conn.Conn).Resume)
	s.want("reported as truncated", "OnEOF...", "OnClosed...")
	assertClosed(t, s.ends.closed, conn.CauseTruncated)
}

func TestPAU10_PauseStopsReadingOnly(t *testing.T) {
	for name, opts := range pollers {
		t.Run(name, func(t *testing.T) {
			s := liveScene(t)
			s.once("OnConnected", (*conn.Conn).Pause)
			s.open(conn.Config{}, opts...)
			s.Allow(100_000)
			data := big(256_000)
			s.doSend(data)
			require.Greater(t, s.Conn().Stats().Pending, 65_536)
			s.Feed("unheard")
			s.want("throttled", "OnConnected", "OnThrottled")
			s.wantNothing("the peer does not read")
			s.Allow(-1)
			s.want("a paused sender is told", "OnSent 1", "OnUnthrottled")
			assert.True(t, data == s.Wire())
			assert.Equal(t, 7, s.Unread(), "still paused")
		})
	}
}

func TestPAU11_APauseStopsTheSystemFromBeingDrained(t *testing.T) {
	const flood, buffer = 64 << 20, 64 << 10
	s := liveScene(t)
	s.once("OnReceived", (*conn.Conn).Pause)
	s.open(conn.Config{})
	s.Feed("first")
	s.skip()
	before := s.Conn().Stats().BytesRead
	require.EqualValues(t, 5, before)
	piece := strings.Repeat("x", 1<<20)
	for range flood / len(piece) {
		s.Feed(piece)
	}
	s.wantNothing("paused")
	assert.LessOrEqual(t, s.Conn().Stats().BytesRead-before, uint64(buffer), "taken from the system")
	assert.GreaterOrEqual(t, s.Unread(), flood-buffer, "so the peer's own sends stall")
	assert.LessOrEqual(t, s.Memory().InUse(), buffer)
}

func TestPAU12_APausedServerClosesInOrder(t *testing.T) {
	for name, opts := range pollers {
		for _, room := range []int{-1, 1000} {
			t.Run(fmt.Sprintf("%s, room %d", name, room), func(t *testing.T) {
				s := newScene(t)
				s.open(conn.Config{}, opts...)
				s.skip()
				data := big(60_000)
				if room > 0 {
					s.Allow(room)
				}
				s.Do(func(c *conn.Conn) {
					c.Pause()
					for i := range 60 {
						s.send(c, data[i*1000:(i+1)*1000])
					}
					c.Close()
				})
				for range 59 {
					if room > 0 {
						require.False(t, s.FIN())
						s.Allow(room)
					}
				}
				assert.True(t, data == s.Wire(), "all of it, without Resume")
				assert.True(t, s.FIN())
				s.want("settled", sents(1, 60)...)
				s.FeedEOF()
				assert.Equal(t, "OnClosed", s.all[len(s.all)-1])
				assert.NoError(t, s.ends.closed)
			})
		}
	}
}

// What the pause of a closing connection drops is dropped for good, and does not hold the end up.
func TestPAU12_BytesThatMeetAPauseWhileClosing(t *testing.T) {
	s := newScene(t)
	s.open(conn.Config{})
	s.skip()
	s.Do(func(c *conn.Conn) { c.Pause(); c.Close() })
	require.True(t, s.FIN())
	s.Feed("dropped")
	require.Zero(t, s.Unread(), "it is read, so that no reset destroys what we sent")
	s.Do((*conn.Conn).Resume)
	s.Feed("dropped too")
	s.wantNothing("a stream with a hole is not delivered")
	s.FeedEOF()
	s.want("the end", "OnClosed")
	assert.NoError(t, s.ends.closed)
}

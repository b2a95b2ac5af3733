package conn_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
)

// The marks of a zero Config, in bytes.
const (
	highWater  = 65_536
	lowWater   = 32_768
	maxPending = 1 << 20
)

// onPollers runs f with readiness reported in each way.
func onPollers(t *testing.T, f func(t *testing.T, opts ...conntest.Option)) {
	for name, opts := range pollers {
		t.Run(name, func(t *testing.T) { f(t, opts...) })
	}
}

// stuck opens s and sends data, of which the system takes so much that more than HighWater stays pending.
func (s *scene) stuck(data string, cfg conn.Config, opts ...conntest.Option) {
	s.t.Helper()
	s.open(cfg, opts...)
	s.Allow(100_000)
	s.doSend(data)
	require.Equal(s.t, len(data)-100_000, s.Conn().Stats().Pending, "the system took a part")
	require.Greater(s.t, s.Conn().Stats().Pending, highWater)
	s.want("throttled", "OnConnected", "OnThrottled")
}

func TestBP1_ALargeSendToASlowPeer(t *testing.T) {
	onPollers(t, func(t *testing.T, opts ...conntest.Option) {
		s := liveScene(t)
		asked, askedIn := false, 0
		s.on("OnThrottled", func(c *conn.Conn) {
			assert.True(t, asked, "OnThrottled runs inside Send")
			s.refused(c, conn.ErrNotWriteable)
		})
		s.on("OnUnthrottled", func(c *conn.Conn) { assert.True(t, c.IsWriteable()) })
		s.open(conn.Config{}, opts...)
		s.skip()
		s.Allow(100_000)
		data := big(256_000)
		s.Do(func(c *conn.Conn) {
			assert.EqualValues(t, 1, s.send(c, data))
			assert.False(t, c.IsWriteable(), "right after it")
			s.refused(c, conn.ErrNotWriteable)
			asked, askedIn = true, s.Turns()
		})
		require.Greater(t, s.Conn().Stats().Pending, highWater)
		s.want("once", "OnThrottled")
		assert.Greater(t, s.turnOf["OnThrottled"], askedIn, "in a later turn")
		s.wantNothing("else")
		s.Allow(-1)
		s.want("the reader resumes", "OnSent 1", "OnUnthrottled")
		assert.True(t, data == s.Wire())
	})
}

func TestBP2_HighWaterItselfIsNotTooMuch(t *testing.T) {
	for _, pieces := range []int{1, 8, 64} {
		t.Run(fmt.Sprintf("%d sends", pieces), func(t *testing.T) {
			s := openLive(t, conn.Config{})
			s.skip()
			s.Allow(0)
			for i := range pieces {
				s.Do(func(c *conn.Conn) { s.send(c, big(highWater/pieces)) })
				require.Equal(t, (i+1)*highWater/pieces, s.Conn().Stats().Pending)
			}
			s.wantNothing("65,536 bytes are not more than HighWater")
			s.Do(func(c *conn.Conn) {
				assert.True(t, c.IsWriteable())
				assert.EqualValues(t, pieces+1, s.send(c, "1"), "accepted")
				s.refused(c, conn.ErrNotWriteable)
			})
			s.want("but it is one more", "OnThrottled")
			s.Do(func(c *conn.Conn) { s.refused(c, conn.ErrNotWriteable) })
		})
	}
}

func TestBP3_LowWaterItselfIsLittleEnough(t *testing.T) {
	onPollers(t, func(t *testing.T, opts ...conntest.Option) {
		s := liveScene(t)
		s.on("OnUnthrottled", func(c *conn.Conn) {
			assert.Equal(t, lowWater, c.Stats().Pending)
			assert.EqualValues(t, 2, s.send(c, "accepted"))
		})
		s.open(conn.Config{}, opts...)
		s.Allow(0)
		s.doSend(big(highWater + 1))
		s.want("throttled", "OnConnected", "OnThrottled")
		s.Allow(lowWater)
		require.Equal(t, lowWater+1, s.Conn().Stats().Pending)
		s.wantNothing("one byte too many")
		s.Do(func(c *conn.Conn) { s.refused(c, conn.ErrNotWriteable) })
		s.Allow(1)
		s.want("no more than LowWater", "OnUnthrottled")
		s.Allow(-1)
		s.want("settled", sents(1, 2)...)
		assert.True(t, big(highWater+1)+"accepted" == s.Wire())
	})
}

func TestBP3_SendIsRefusedUntilOnUnthrottledIsTold(t *testing.T) {
	s := liveScene(t)
	s.open(conn.Config{}, conntest.Manual())
	s.Settle()
	s.Allow(0)
	s.doSend(big(highWater + 1))
	s.Settle()
	s.Allow(-1)
	s.Turn()
	require.Zero(t, s.Conn().Stats().Pending, "all is written")
	require.Zero(t, s.count("OnUnthrottled"), "but it is not told")
	s.on("OnSent 1", func(c *conn.Conn) { s.refused(c, conn.ErrNotWriteable) }) // told in the same turn, before it
	s.Turn()
	assert.Equal(t, 1, s.count("OnUnthrottled"))
	s.Do(func(c *conn.Conn) { s.send(c, "accepted") })
	s.Settle()
}

func TestBP4_TheMostThatCanBePending(t *testing.T) {
	s := openLive(t, conn.Config{})
	s.skip()
	s.Allow(0)
	s.doSend(big(highWater))
	require.Equal(t, highWater, s.Conn().Stats().Pending)
	s.Do(func(c *conn.Conn) {
		assert.EqualValues(t, 2, s.send(c, big(maxPending)), "accepted")
		assert.Equal(t, 1_114_112, c.Stats().Pending)
		for _, size := range []int{0, 1, maxPending} {
			_, err := c.Send(make([]byte, size))
			assert.True(t, err == conn.ErrNotWriteable, "%d bytes: %v", size, err)
		}
		assert.Equal(t, 1_114_112, c.Stats().Pending)
	})
	s.want("throttled", "OnThrottled")
	s.Allow(-1)
	assert.True(t, big(highWater)+big(maxPending) == s.Wire())
	s.want("settled", "OnSent 1", "OnSent 2", "OnUnthrottled")
	assert.Zero(t, s.Memory().InUse())
}

func TestBP5_AThousandRandomThrottleCycles(t *testing.T) {
	const cycles = 1000
	dice := rand.New(rand.NewPCG(5, 1))
	s := liveScene(t)
	stream := big(100_000 + 251) // a piece of an endless pattern that repeats every 251 bytes
	sent, read := 0, 0
	fill := func(c *conn.Conn) {
		for c.IsWriteable() {
			n, at := dice.IntN(100_001), sent%251
			s.send(c, stream[at:at+n])
			sent += n
			assert.LessOrEqual(t, c.Stats().Pending, highWater+maxPending)
		}
	}
	s.on("OnUnthrottled", fill)
	s.open(conn.Config{})
	s.Allow(0)
	s.Do(fill)
	check := func() {
		wire := s.Wire()
		for len(wire) > 0 {
			at := read % 251
			n := min(len(wire), len(stream)-at)
			require.True(t, wire[:n] == stream[at:at+n], "a byte is wrong behind %d", read)
			read, wire = read+n, wire[n:]
		}
	}
	for s.Conn().Stats().Throttles < cycles {
		s.Allow(dice.IntN(60_000)) // the reader resumes, and pauses again
		check()
	}
	require.GreaterOrEqual(t, s.count("OnUnthrottled"), cycles-1)
	require.Equal(t, s.count("OnThrottled"), s.count("OnUnthrottled")+1, "they alternate; the recorder checks the order")
	assert.Zero(t, s.Conn().Stats().Refused)
	s.reactions = nil
	s.Allow(-1)
	check()
	assert.Equal(t, sent, read, "the peer gets every byte")
}

func TestBP6_SendIsAcceptedInEveryOnUnthrottled(t *testing.T) {
	const cycles = 50
	s := liveScene(t)
	data := big(100_000)
	s.on("OnUnthrottled", func(c *conn.Conn) {
		if s.count("OnUnthrottled") <= cycles {
			s.send(c, data)
		}
	})
	s.open(conn.Config{})
	s.Allow(0)
	s.doSend(data)
	for n := 0; n < (cycles+1)*100_000; n += 7000 {
		s.Allow(7000)
	}
	assert.Equal(t, cycles+1, s.count("OnUnthrottled"))
	assert.Equal(t, cycles+1, s.count("OnSent"))
	assert.Zero(t, s.Conn().Stats().Refused)
	assert.Len(t, s.Wire(), (cycles+1)*100_000)
}

func TestBP6_ARefusalIsFollowedBySomething(t *testing.T) {
	cases := map[string]struct {
		then func(s *scene)
		want []string
	}{
		"the reader resumes": {func(s *scene) { s.Allow(-1) }, []string{"OnSent 1", "OnUnthrottled"}},
		"Abort":              {func(s *scene) { s.Do(func(c *conn.Conn) { c.Abort(nil) }) }, []string{"OnSendFailed 1", "OnClosed..."}},
		"the peer resets":    {func(s *scene) { s.Reset() }, []string{"OnSendFailed 1", "OnClosed..."}},
		"Close": {func(s *scene) {
			s.Do((*conn.Conn).Close)
			s.Allow(-1)
			s.FeedEOF()
		}, []string{"OnSent 1", "OnEOF", "OnClosed"}},
		"CloseWrite": {func(s *scene) {
			s.Do((*conn.Conn).CloseWrite)
			s.Allow(-1)
			s.FeedEOF()
		}, []string{"OnSent 1", "OnEOF", "OnClosed"}},
		"Close, and the peer never reads": {func(s *scene) {
			s.Do((*conn.Conn).Close)
			s.Advance(5 * time.Second)
		}, []string{"OnSendFailed 1", "OnClosed..."}},
	}
	for name, k := range cases {
		t.Run(name, func(t *testing.T) {
			s := liveScene(t)
			s.stuck(big(256_000), conn.Config{})
			s.Do(func(c *conn.Conn) { s.refused(c, conn.ErrNotWriteable) })
			s.wantNothing("a refusal is no event")
			k.then(s)
			s.want("it is followed by", k.want...)
		})
	}
}

func TestBP7_OneWriteForEachReadiness(t *testing.T) {
	onPollers(t, func(t *testing.T, opts ...conntest.Option) {
		s := openLive(t, conn.Config{}, opts...)
		s.skip()
		s.Allow(0)
		data := big(256_000)
		s.doSend(data)
		require.Equal(t, 256_000, s.Conn().Stats().Pending)
		for range 255 {
			writes, turns := s.Writes(), s.Turns()
			s.Allow(1000)
			require.Equal(t, writes+1, s.Writes())
			require.LessOrEqual(t, s.Turns(), turns+2, "one that writes, one that tells")
		}
		s.want("one of each", "OnThrottled", "OnUnthrottled")
		s.Allow(1000)
		s.want("then all is taken", "OnSent 1")
		assert.True(t, data == s.Wire())
		writes := s.Writes()
		s.Allow(1000)
		assert.Equal(t, writes, s.Writes(), "nothing is left to write")
	})
}

func TestBP8_TheEndOfConnectingReleasesNothing(t *testing.T) {
	for name, opts := range map[string][]conntest.Option{"accepted": {conntest.Manual()}, "dialed": {conntest.Manual(), conntest.Dialed()}} {
		t.Run(name, func(t *testing.T) {
			s := liveScene(t)
			s.on("OnConnected", func(c *conn.Conn) {
				s.send(c, big(256_000))
				s.refused(c, conn.ErrNotWriteable)
			})
			s.open(conn.Config{}, opts...)
			s.Allow(100_000)
			if name == "dialed" {
				s.Connected()
			}
			s.Settle()
			require.Equal(t, 156_000, s.Conn().Stats().Pending)
			s.want("throttled", "OnConnected", "OnThrottled")
			s.Advance(holdWindow)
			s.Settle()
			s.want("and so it stays")
			s.Allow(-1)
			s.Settle()
			s.want("until the reader resumes", "OnSent 1", "OnUnthrottled")
		})
	}
}

func TestBP9_OutcomesAcrossThrottleCycles(t *testing.T) {
	s := liveScene(t)
	s.once("OnUnthrottled", func(c *conn.Conn) { assert.EqualValues(t, 5, s.send(c, big(256_000))) })
	s.open(conn.Config{})
	s.Allow(100_006)
	s.Do(func(c *conn.Conn) {
		for _, p := range []string{"ab", "cd", "ef"} {
			s.send(c, p)
		}
		assert.EqualValues(t, 4, s.send(c, big(256_000)))
	})
	require.Equal(t, 156_000, s.Conn().Stats().Pending)
	for range 45 {
		s.Allow(10_000)
	}
	s.want("once each, ascending", "OnConnected", "OnSent 1", "OnSent 2", "OnSent 3", "OnThrottled",
		"OnUnthrottled", "OnThrottled", "OnSent 4", "OnUnthrottled", "OnSent 5")
	assert.True(t, "abcdef"+big(256_000)+big(256_000) == s.Wire())
}

package conn_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/frame"
	"github.com/galago-go/galago/interceptor"
)

// After Link.End the layer that ended is deaf, too: what still arrives is for nobody. What it had passed up is delivered.
func TestNothingIsHeardAfterEnd(t *testing.T) {
	s := newScene(t)
	ups := 0
	s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", func(a *sceneLayer) {
		a.up = func(l interceptor.Link, p []byte) error {
			ups++
			err := l.Up(p)
			l.End(errReason)
			return err
		}
	})}})
	s.Feed("last")
	require.True(t, s.FIN())
	s.Feed("late")
	s.want("only what came before", "OnConnected", `OnReceived "last"`)
	assert.Equal(t, 1, ups)
	assert.Zero(t, s.Unread(), "it is read all the same, for the peer's end is behind it")
	s.FeedEOF()
	s.want("no OnEOF for a stream that was cut off", "OnClosed...")
	assert.ErrorIs(t, s.ends.closed, errReason)
}

// A layer may go on answering the peer after our FIN: its bytes go nowhere, and that is no failure.
func TestALayerThatAnswersAfterFIN(t *testing.T) {
	s := newScene(t)
	answers := 0
	s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", func(a *sceneLayer) {
		a.up = func(l interceptor.Link, p []byte) error {
			answers++
			if err := say(l, "pong"); err != nil {
				return err
			}
			return l.Up(p)
		}
	})}})
	s.Feed("x")
	require.Equal(t, "pong", s.Wire())
	s.Do((*conn.Conn).Close)
	require.True(t, s.FIN())
	s.Feed("y")
	assert.Equal(t, 2, answers)
	assert.Equal(t, "", s.Wire())
	s.FeedEOF()
	s.want("in order", "OnConnected", `OnReceived "x"`, `OnReceived "y"`, "OnEOF", "OnClosed")
	assert.NoError(t, s.ends.closed)
}

// What a layer raised while reading is told before the frames that this reading brought.
func TestDataDoesNotOvertakeWhatWasRaisedWhileReading(t *testing.T) {
	s := newScene(t)
	s.open(conn.Config{Split: frame.Fixed(4), Layers: []interceptor.Factory{s.layer("a", func(a *sceneLayer) {
		a.up = func(l interceptor.Link, p []byte) error {
			err := l.Up(p[:4])
			l.Raise("news")
			if err != nil {
				return err
			}
			return l.Up(p[4:])
		}
	})}})
	s.Feed("AAAABBBB")
	s.want("the event first", "OnConnected", `OnEvent "news"`, `OnReceived "AAAA"`, `OnReceived "BBBB"`)
}

// Both directions have ended, but what the layer gave up at the end is still to be delivered.
func TestTheEndWaitsForWhatIsUndelivered(t *testing.T) {
	s := newScene(t)
	s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", func(a *sceneLayer) {
		a.eof = func(l interceptor.Link) error {
			l.Raise("bye") // reading ends here
			return l.Up([]byte("rest"))
		}
	})}})
	s.Do((*conn.Conn).Close)
	require.True(t, s.FIN())
	s.FeedEOF()
	s.want("all of it", "OnConnected", `OnEvent "bye"`, `OnReceived "rest"`, "OnEOF", "OnClosed")
}

// A layer may become ready by the peer's end. Then there was a connection, and it ended in order.
func TestALayerThatIsReadyAtTheEnd(t *testing.T) {
	s := newScene(t)
	s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", func(a *sceneLayer) {
		a.open = func(interceptor.Link) error { return nil }
		a.eof = func(l interceptor.Link) error { l.Ready(); return nil }
	})}})
	s.Feed("request")
	s.FeedEOF()
	s.want("in order", "OnConnected", `OnReceived "request"`, "OnEOF", "OnClosed")
	assert.NoError(t, s.ends.closed)

	t.Run("and one that never is", func(t *testing.T) {
		s := newScene(t)
		s.open(conn.Config{Layers: []interceptor.Factory{s.layer("hello", hello)}})
		s.FeedEOF()
		s.want("the peer left", "OnConnectFailed...")
		connectError(t, s.ends.failed, conn.StageHandshake)
	})
}

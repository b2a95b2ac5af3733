package conn_test

import (
	"errors"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/interceptor"
)

// A layer that leaves a decision to the handler raises an event, and posts a function that looks what was decided.
func TestAPostedFunctionLearnsWhatTheHandlerDecided(t *testing.T) {
	for _, test := range []struct {
		name   string
		decide func(c *conn.Conn)
		want   string // what the posted function found
	}{
		{"nothing", nil, "told, open"},
		{"half-close", (*conn.Conn).CloseWrite, "told, open"},
		{"Close", (*conn.Conn).Close, "told, closing"},
		{"Abort", func(c *conn.Conn) { c.Abort(nil) }, "it did not run"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScene(t)
			s.rec.Stay = true
			s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", nil)}})
			told, found := "not told", "it did not run"
			s.once("OnEvent", func(c *conn.Conn) {
				told = "told"
				if test.decide != nil {
					test.decide(c)
				}
			})
			s.inLayer(0, func(l interceptor.Link) error {
				assert.False(t, l.Closing())
				l.Raise("what now?")
				l.Post(func() error {
					found = told + ", open"
					if l.Closing() {
						found = told + ", closing"
					}
					return nil
				})
				return nil
			})
			assert.Equal(t, test.want, found)
		})
	}
}

// Closing is about the connection, whoever ends it: another layer by End, or the peer after our half-close.
func TestClosingWhoeverEndsIt(t *testing.T) {
	s := newScene(t)
	s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", nil), s.layer("b", nil)}})
	s.inLayer(0, func(l interceptor.Link) error {
		l.End(errors.New("enough"))
		assert.True(t, l.Closing())
		return nil
	})
	s.inLayer(1, func(l interceptor.Link) error { assert.True(t, l.Closing()); return nil })

	s = newScene(t)
	closing := false
	s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", func(l *sceneLayer) {
		l.up = func(l interceptor.Link, p []byte) error { return errPart }
	}), s.layer("b", func(l *sceneLayer) {
		l.onWrote = func(l interceptor.Link, _, _ int) { closing = l.Closing() }
	})}}, conntest.Manual())
	s.Settle()
	s.Feed("x") // layer a fails, without last words: the connection ends with this turn
	s.Do(func(c *conn.Conn) { assert.True(t, s.layers[1].link.Closing()) })
	s.Turn()
	assert.False(t, closing, "nothing was written")
	assert.Equal(t, conn.StateClosed, s.Conn().State())
	s.Settle()
}

// While reading is held, a layer may ask how much waits. It learns it without anything being taken.
func TestALayerAsksWhatWaitsUnread(t *testing.T) {
	s := newScene(t)
	s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", nil)}})
	unread := func() (n int) {
		s.inLayer(0, func(l interceptor.Link) error { n = l.Unread(); return nil })
		return n
	}
	assert.Zero(t, unread())
	s.Do((*conn.Conn).Pause)
	s.Feed("four")
	assert.Equal(t, 4, unread())
	s.Feed("more")
	assert.Equal(t, 8, unread())
	assert.Equal(t, 8, s.Unread(), "nothing was taken")
	s.Do((*conn.Conn).Resume)
	assert.Zero(t, unread())
	assert.Equal(t, "fourmore", s.rec.Received())
	s.FeedEOF()
	assert.Equal(t, -1, s.layers[0].link.Unread(), "between two turns nobody may ask")
}

// What asking finds out besides is not lost: a reset that no event has told yet.
func TestAskingWhatWaitsFindsAReset(t *testing.T) {
	s := newScene(t)
	s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", nil)}}, conntest.Manual())
	s.Settle()
	s.Do(func(c *conn.Conn) {
		s.Reset() // after this turn's report of what is ready
		s.layers[0].link.Unread()
		assert.NotEqual(t, conn.StateClosed, c.State(), "not inside a layer")
	})
	s.Turn()
	assert.Equal(t, conn.StateClosed, s.Conn().State(), "but with the turn")
	s.Settle()
	assert.ErrorIs(t, s.ends.closed, syscall.ECONNRESET)

	s = newScene(t)
	s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", nil)}}, conntest.Manual())
	s.Settle()
	s.Do(func(c *conn.Conn) {
		s.FeedError(io.EOF)
		assert.Zero(t, s.layers[0].link.Unread())
	})
	s.Settle()
	s.want("the end comes as it would have", "OnConnected", "OnEOF", "OnClosed")
}

// Sleep is told at the beginning of a turn: what a layer says then is written with it.
func TestLayersAreToldOfSleep(t *testing.T) {
	s := newScene(t)
	s.open(conn.Config{Layers: []interceptor.Factory{
		s.layer("a", func(l *sceneLayer) { l.onSlept = func(l interceptor.Link) { _ = say(l, "still here") } }),
		s.layer("b", nil),
	}})
	turns := s.Turns()
	s.Slept(time.Hour)
	assert.Equal(t, turns+1, s.Turns())
	assert.Equal(t, "still here", s.Wire())
	for _, l := range s.layers {
		assert.Equal(t, []time.Duration{time.Hour}, l.slept)
	}
	s.Do(func(c *conn.Conn) { c.Abort(nil) })
	assert.False(t, s.Driver().Slept(time.Hour), "a connection that is over does not care")

	s = newScene(t)
	s.open(conn.Config{})
	turns = s.Turns()
	s.Slept(time.Hour)
	assert.Equal(t, turns, s.Turns(), "without layers there is nobody to tell")
}

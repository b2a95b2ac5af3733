package conn_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/conn/frame"
	"github.com/galago-go/galago/interceptor"
)

var errReason = errors.New("the reason")

func TestTheEndTravelsUp(t *testing.T) {
	s := newScene(t)
	var order []string
	watch := func(name string) interceptor.Factory {
		return s.layer(name, func(a *sceneLayer) {
			a.eof = func(l interceptor.Link) error {
				order = append(order, name)
				if name == "B" { // what a layer held back may still go up
					return l.Up([]byte("rest"))
				}
				return nil
			}
		})
	}
	s.rec.Stay = true
	s.open(conn.Config{Layers: []interceptor.Factory{watch("A"), watch("B"), watch("C")}})
	s.Feed("data")
	s.FeedEOF()
	assert.Equal(t, []string{"A", "B", "C"}, order)
	s.want("the end comes after all data", "OnConnected", `OnReceived "data"`, `OnReceived "rest"`, "OnEOF")
	assert.NoError(t, s.ends.eof)
}

// ender ends the stream upwards when BYE comes.
func ender(a *sceneLayer) {
	a.up = func(l interceptor.Link, p []byte) error {
		before, _, bye := strings.Cut(string(p), "BYE")
		if err := l.Up([]byte(before)); err != nil {
			return err
		}
		if bye {
			return l.EOF()
		}
		return nil
	}
}

func TestALayerMayOriginateTheEnd(t *testing.T) {
	s := newScene(t)
	s.rec.Stay = true
	s.open(conn.Config{Split: frame.Fixed(4), Layers: []interceptor.Factory{s.layer("bye", ender)}})
	s.Feed("datadataBYE")
	s.want("after all data", "OnConnected", `OnReceived "data"`, `OnReceived "data"`, "OnEOF")
	assert.NoError(t, s.ends.eof)
	s.doSend("still open")
	assert.Equal(t, "still open", s.Wire())
	s.Feed("more")
	s.want("what the layer passes up after it is dropped", "OnSent 1")
	s.Do((*conn.Conn).Close)
	require.True(t, s.FIN())
	s.want("the wire has not ended")
	s.FeedEOF()
	s.want("now it has", "OnClosed")
	assert.NoError(t, s.ends.closed)
}

func TestALayerMayCallTheStreamCutShort(t *testing.T) {
	strict := func(a *sceneLayer) {
		ender(a)
		up, done := a.up, false
		a.up = func(l interceptor.Link, p []byte) error {
			done = done || strings.Contains(string(p), "BYE")
			return up(l, p)
		}
		a.eof = func(interceptor.Link) error {
			if !done {
				return io.ErrUnexpectedEOF
			}
			return nil
		}
	}
	for _, bye := range []bool{true, false} {
		s := newScene(t)
		s.open(conn.Config{Layers: []interceptor.Factory{s.layer("strict", strict)}})
		s.Feed("data")
		if bye {
			s.Feed("BYE")
		}
		s.FeedEOF()
		if bye {
			s.want("in order", "OnConnected", `OnReceived "data"`, "OnEOF", "OnClosed")
			assert.NoError(t, s.ends.closed)
			continue
		}
		s.want("cut short", "OnConnected", `OnReceived "data"`, "OnEOF...", "OnClosed...")
		assert.ErrorIs(t, s.ends.eof, io.ErrUnexpectedEOF)
		assertClosed(t, s.ends.closed, conn.CauseTruncated)
		assert.ErrorIs(t, s.ends.closed, io.ErrUnexpectedEOF)
		_, reset := s.Closed()
		assert.False(t, reset, "it ends in order all the same")
	}
	t.Run("one layer ends the stream, the one above objects", func(t *testing.T) {
		s := newScene(t)
		s.open(conn.Config{Layers: []interceptor.Factory{
			s.layer("bye", ender),
			s.layer("above", func(a *sceneLayer) {
				a.eof = func(interceptor.Link) error { return io.ErrUnexpectedEOF }
			}),
		}})
		s.Feed("dataBYE")
		require.Equal(t, 1, s.count("OnEOF"))
		assert.ErrorIs(t, s.ends.eof, io.ErrUnexpectedEOF)
		s.FeedEOF()
		assertClosed(t, s.ends.closed, conn.CauseTruncated)
	})
	t.Run("an Abort has its own cause", func(t *testing.T) {
		s := newScene(t)
		s.rec.Stay = true
		s.open(conn.Config{Layers: []interceptor.Factory{s.layer("strict", strict)}})
		s.FeedEOF()
		assert.Error(t, s.ends.eof)
		s.Do(func(c *conn.Conn) { c.Abort(errEnough) })
		assertClosed(t, s.ends.closed, conn.CauseAbort)
		assert.ErrorIs(t, s.ends.closed, errEnough)
	})
}

// Three ways for a layer to have last words: it ends the connection, it fails, or it does so in a posted function.
var lastWords = map[string]func(s *scene) func(a *sceneLayer){
	"End": func(*scene) func(a *sceneLayer) {
		return func(a *sceneLayer) {
			a.up = func(l interceptor.Link, _ []byte) error {
				err := say(l, "goodbye")
				l.End(errReason)
				l.End(errEnough) // the first reason stays
				return err
			}
		}
	},
	"End, then the words": func(*scene) func(a *sceneLayer) {
		return func(a *sceneLayer) {
			a.up = func(l interceptor.Link, _ []byte) error {
				l.End(errReason)
				return say(l, "goodbye")
			}
		}
	},
	"words of CloseWrite": func(*scene) func(a *sceneLayer) {
		return func(a *sceneLayer) {
			a.up = func(l interceptor.Link, _ []byte) error { l.End(errReason); return nil }
			a.closeWrite = func(l interceptor.Link) error { return say(l, "goodbye") }
		}
	},
	"a failure": func(*scene) func(a *sceneLayer) {
		return func(a *sceneLayer) {
			a.up = func(l interceptor.Link, _ []byte) error {
				if err := say(l, "goodbye"); err != nil {
					return err
				}
				return errReason
			}
		}
	},
	"a posted failure": func(*scene) func(a *sceneLayer) {
		return func(a *sceneLayer) {
			a.up = func(l interceptor.Link, _ []byte) error {
				l.Post(func() error {
					if err := say(l, "goodbye"); err != nil {
						return err
					}
					return errReason
				})
				return nil
			}
		}
	},
}

func TestLastWordsAreFlushedThenFIN(t *testing.T) {
	for name, setup := range lastWords {
		t.Run(name, func(t *testing.T) {
			prepare := func(t *testing.T) *scene {
				s := newScene(t)
				s.open(conn.Config{CloseTimeout: time.Second, Layers: []interceptor.Factory{s.layer("a", setup(s))}})
				s.Allow(0)
				s.doSend("one")
				s.doSend("two")
				s.Feed("the end")
				s.want("nothing was taken", "OnConnected")
				require.Equal(t, len("onetwogoodbye"), s.Conn().Stats().Pending)
				s.Do(func(c *conn.Conn) { s.refused(c, conn.ErrNotConnected) })
				return s
			}
			t.Run("in order", func(t *testing.T) {
				s := prepare(t)
				wire := ""
				for i := range len("onetwogoodbye") {
					require.False(t, s.FIN(), "FIN after %q", wire)
					s.Allow(1)
					wire += s.Wire()
					assert.Equal(t, min((i+1)/3, 2), s.count("OnSent"), "sends settle as their bytes are written")
				}
				assert.Equal(t, "onetwogoodbye", wire)
				assert.True(t, s.FIN())
				s.Feed("nobody hears this")
				s.want("and the end waits for the peer's", "OnSent 1", "OnSent 2")
				s.FeedEOF()
				s.want("with the reason", "OnClosed...")
				assertClosed(t, s.ends.closed, conn.CauseLayer)
				assert.ErrorIs(t, s.ends.closed, errReason)
				_, reset := s.Closed()
				assert.False(t, reset, "no reset after an orderly end")
			})
			t.Run("a peer that does not end", func(t *testing.T) {
				s := prepare(t)
				s.Allow(-1)
				require.True(t, s.FIN())
				s.Advance(time.Second - 1)
				require.Zero(t, s.count("OnClosed"))
				s.Advance(1)
				s.want("reset, with the layer's reason", "OnSent 1", "OnSent 2", "OnClosed...")
				assertClosed(t, s.ends.closed, conn.CauseLayer)
				assert.ErrorIs(t, s.ends.closed, errReason)
				_, reset := s.Closed()
				assert.True(t, reset)
			})
			t.Run("a peer that does not read", func(t *testing.T) {
				s := prepare(t)
				s.Allow(4)
				s.Advance(time.Second)
				s.want("reset, with the layer's reason", "OnSent 1", "OnSendFailed 2", "OnClosed...")
				assert.ErrorIs(t, s.ends.closed, errReason)
				assert.False(t, s.FIN())
			})
			t.Run("Abort waits for nothing", func(t *testing.T) {
				s := prepare(t)
				s.Do(func(c *conn.Conn) { c.Abort(errEnough) })
				s.want("at once", "OnSendFailed 1", "OnSendFailed 2", "OnClosed...")
				assert.ErrorIs(t, s.ends.closed, errReason, "the first cause stays")
			})
			t.Run("before ready", func(t *testing.T) {
				s := newScene(t)
				s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", func(a *sceneLayer) {
					setup(s)(a)
					a.open = func(interceptor.Link) error { return nil }
				})}})
				s.Feed("the end")
				assert.Equal(t, "goodbye", s.Wire())
				assert.True(t, s.FIN())
				s.want("not yet")
				s.FeedEOF()
				s.want("never connected", "OnConnectFailed...")
				connectError(t, s.ends.failed, conn.StageHandshake)
				assert.ErrorIs(t, s.ends.failed, errReason)
			})
			t.Run("before ready, and the peer does not end", func(t *testing.T) {
				s := newScene(t)
				s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", func(a *sceneLayer) {
					setup(s)(a)
					end := a.up
					a.open = func(interceptor.Link) error { return nil }
					a.up = func(l interceptor.Link, p []byte) error { return errors.Join(l.Up(p), end(l, p)) }
				})}})
				s.Feed("the end")
				s.Advance(time.Minute)
				s.want("what came up is not delivered", "OnConnectFailed...")
				connectError(t, s.ends.failed, conn.StageHandshake)
				assert.ErrorIs(t, s.ends.failed, errReason)
			})
		})
	}
}

func TestAFailureWithoutLastWordsResetsAtOnce(t *testing.T) {
	for name, fail := range map[string]func(s *scene, a *sceneLayer){
		"Up":     func(s *scene, a *sceneLayer) { s.Feed("x") },
		"posted": func(s *scene, a *sceneLayer) { s.inLayer(0, func(interceptor.Link) error { return errReason }) },
		"Expire": func(s *scene, a *sceneLayer) {
			s.inLayer(0, func(l interceptor.Link) error { l.SetDeadline(l.Now().Add(time.Second)); return nil })
			s.Advance(time.Second)
		},
		"CloseWrite": func(s *scene, a *sceneLayer) { s.Do((*conn.Conn).Close) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			failure := func(interceptor.Link) error { return errReason }
			s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", func(a *sceneLayer) {
				a.up = func(l interceptor.Link, _ []byte) error { return errReason }
				a.expire = func(interceptor.Link, time.Time) error { return errReason }
				a.closeWrite = failure
			})}})
			s.Allow(0)
			s.doSend("queued")
			at := s.Now()
			fail(s, s.layers[0])
			s.want("at once", "OnConnected", "OnSendFailed 1", "OnClosed...")
			assertClosed(t, s.ends.closed, conn.CauseLayer)
			assert.ErrorIs(t, s.ends.closed, errReason)
			_, reset := s.Closed()
			assert.True(t, reset)
			assert.False(t, s.FIN())
			assert.LessOrEqual(t, s.Now().Sub(at), time.Second)
		})
	}
}

func TestPostComesAfterWhatWasRaisedBefore(t *testing.T) {
	s := newScene(t)
	var order []string
	s.on("OnEvent", func(c *conn.Conn) {
		order = append(order, s.all[len(s.all)-1])
		c.Close()
	})
	s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", func(a *sceneLayer) {
		a.up = func(l interceptor.Link, _ []byte) error {
			l.Raise("the peer is down")
			l.Post(func() error {
				order = append(order, "posted, "+s.Conn().State().String())
				return nil
			})
			return nil
		}
	})}})
	s.Feed("x")
	assert.Equal(t, []string{`OnEvent "the peer is down"`, "posted, Closing"}, order,
		"the function sees what the handler decided")
}

func TestPostFromAnyGoroutineAfterTheEnd(t *testing.T) {
	s := newScene(t)
	s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", nil)}}, conntest.Manual())
	s.Settle()
	link := s.layers[0].link
	ran := 0 // bare: the race detector sees a function that does not run in a turn
	post := func(n int) {
		for range n {
			link.Post(func() error {
				ran++
				assert.NotEqual(t, conn.StateClosed, s.Conn().State(), "it ran after the end")
				return nil
			})
		}
	}
	begun, over := make(chan struct{}, 4), make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			post(100)
			begun <- struct{}{}
			post(400) // while the connection ends
			<-over
			post(100)
		})
	}
	for range cap(begun) {
		<-begun
		s.Turn()
	}
	require.Positive(t, ran)
	s.Do(func(c *conn.Conn) { c.Abort(nil) })
	for !s.Done() {
		s.Turn()
	}
	before := ran
	close(over)
	wg.Wait()
	s.Settle()
	assert.Equal(t, before, ran)
	s.want("once", "OnConnected", "OnClosed...")
}

func TestAbortIsFinalAtOnce(t *testing.T) {
	s := newScene(t)
	s.open(conn.Config{Layers: []interceptor.Factory{s.layer("polite", func(a *sceneLayer) {
		a.closeWrite = func(l interceptor.Link) error { return say(l, "goodbye") }
	})}}, conntest.Manual())
	s.Settle()
	s.Do(func(c *conn.Conn) {
		s.send(c, "never written")
		require.Positive(t, c.Stats().Pending, "the socket would take it")
		c.Abort(errEnough)
		closed, reset := s.Closed()
		assert.True(t, closed && reset, "before Abort returns")
		assert.Equal(t, conn.StateClosed, c.State())
		assert.Zero(t, c.Stats().Pending)
		s.refused(c, conn.ErrNotConnected)
		c.Flush()
		c.Close()
		c.CloseWrite()
		c.Resume()
	})
	s.Turn()
	s.Feed("unread")
	s.Settle()
	assert.Equal(t, "", s.Wire(), "no last words")
	assert.Zero(t, s.Writes())
	s.want("over", "OnConnected", "OnSendFailed 1", "OnClosed...")
}

func TestBytesBeforeReadyAreDeliveredAfterOnConnected(t *testing.T) {
	t.Run("a few", func(t *testing.T) {
		s := newScene(t)
		s.open(conn.Config{Layers: []interceptor.Factory{s.layer("eager", func(a *sceneLayer) {
			a.open = func(interceptor.Link) error { return nil }
			a.up = func(l interceptor.Link, p []byte) error {
				before, after, ready := strings.Cut(string(p), "READY")
				err := l.Up([]byte(before))
				if ready {
					l.Ready()
					err = errors.Join(err, l.Up([]byte(after)))
				}
				return err
			}
		})}})
		s.Feed("one,")
		s.Feed("two,")
		s.want("not yet")
		s.Feed("three,READYfour,")
		s.Feed("five")
		s.want("in order", "OnConnected", `OnReceived "one,two,three,four,"`, `OnReceived "five"`)
	})
	t.Run("with layers above", func(t *testing.T) {
		s := newScene(t)
		slow := func(name string) interceptor.Factory {
			return s.layer(name, func(a *sceneLayer) {
				a.open = func(l interceptor.Link) error { return nil }
			})
		}
		s.open(conn.Config{Split: frame.Fixed(1), Layers: []interceptor.Factory{slow("A"), slow("B"), slow("C")}})
		for i, p := range []string{"a", "b", "c"} {
			s.Feed(p)
			s.want("not yet")
			s.inLayer(i, func(l interceptor.Link) error { l.Ready(); return nil })
		}
		s.Feed("d")
		s.want("in order", "OnConnected", `OnReceived "a"`, `OnReceived "b"`, `OnReceived "c"`, `OnReceived "d"`)
	})
	t.Run("more than one read", func(t *testing.T) {
		s := newScene(t)
		s.open(conn.Config{Layers: []interceptor.Factory{s.layer("eager", func(a *sceneLayer) {
			a.open = func(interceptor.Link) error { return nil }
		})}})
		data := big(500_000)
		for i := 0; i < len(data); i += 50_000 {
			s.Feed(data[i : i+50_000])
		}
		require.Greater(t, s.Unread(), 300_000, "reading rests")
		s.inLayer(0, func(l interceptor.Link) error { l.Ready(); return nil })
		assert.True(t, data == s.rec.Received(), "in order, and all of it")
		assert.Equal(t, "OnConnected", s.all[0])
	})
	t.Run("and then the end", func(t *testing.T) {
		s := newScene(t)
		s.open(conn.Config{Layers: []interceptor.Factory{s.layer("eager", func(a *sceneLayer) {
			a.open = func(interceptor.Link) error { return nil }
			a.up = func(l interceptor.Link, p []byte) error { l.Ready(); return l.Up(p) }
		})}}, conntest.Manual())
		s.Feed("request")
		s.FeedEOF()
		s.Settle()
		s.want("all of it", "OnConnected", `OnReceived "request"`, "OnEOF", "OnClosed")
		assert.NoError(t, s.ends.closed, fmt.Sprint(s.ends.closed))
	})
}

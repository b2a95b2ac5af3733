package conn_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
)

// A scene is a connection on a scripted socket, with a recorder as its owner, and reactions to the callbacks. Whatever
// the rig or the recorder objects to fails the test; so does memory or a layer that is left over at the end.
type scene struct {
	*conntest.Rig
	t         *testing.T
	rec       *conntest.Recorder
	reactions []reaction
	turnOf    map[string]int // the turn in which a call came last
	all       []string       // every call so far
	layers    []*sceneLayer
	ends      endErrors
	cut       int // calls that want has seen
}

type reaction struct {
	prefix string
	do     func(*conn.Conn)
	once   bool
}

// newScene prepares a scene; open connects it.
func newScene(t *testing.T) *scene {
	s := &scene{t: t, turnOf: map[string]int{}}
	s.rec = &conntest.Recorder{TB: t, Do: s.react}
	t.Cleanup(s.over)
	return s
}

// openScene is newScene and open, for scenes whose reactions come later.
func openScene(t *testing.T, cfg conn.Config, opts ...conntest.Option) *scene {
	s := newScene(t)
	s.open(cfg, opts...)
	return s
}

func (s *scene) open(cfg conn.Config, opts ...conntest.Option) {
	opts = append(opts, conntest.Checked(s.t), func(r *conntest.Rig) { s.Rig = r }) // New takes turns already
	conntest.New(&errorTap{s.rec, &s.ends}, cfg, opts...)
}

// on does f whenever a call begins with prefix, once the first time only.
func (s *scene) on(prefix string, f func(*conn.Conn)) {
	s.reactions = append(s.reactions, reaction{prefix: prefix, do: f})
}

func (s *scene) once(prefix string, f func(*conn.Conn)) {
	s.reactions = append(s.reactions, reaction{prefix: prefix, do: f, once: true})
}

func (s *scene) react(c *conn.Conn, call string) {
	s.all = append(s.all, call)
	s.turnOf[call] = s.Turns()
	for i := range s.reactions {
		if r := &s.reactions[i]; r.do != nil && strings.HasPrefix(call, r.prefix) {
			do := r.do
			if r.once {
				r.do = nil
			}
			do(c)
		}
	}
}

// want asserts that exactly these calls came since the last want. One that ends in "..." stands for all that begin so.
func (s *scene) want(what string, calls ...string) {
	s.t.Helper()
	got := s.all[s.cut:]
	s.cut = len(s.all)
	ok := len(got) == len(calls)
	for i := 0; ok && i < len(got); i++ {
		prefix, cut := strings.CutSuffix(calls[i], "...")
		ok = got[i] == calls[i] || cut && strings.HasPrefix(got[i], prefix)
	}
	if !ok {
		assert.Equal(s.t, strings.Join(calls, "\n"), strings.Join(got, "\n"), what)
	}
}

// skip forgets the calls there were, for want.
func (s *scene) skip() { s.cut = len(s.all) }

// count returns how many calls that begin with prefix there were.
func (s *scene) count(prefix string) (n int) {
	for _, call := range s.all {
		if strings.HasPrefix(call, prefix) {
			n++
		}
	}
	return n
}

// at returns the place of the first call that begins with prefix, -1 if there is none.
func (s *scene) at(prefix string) int {
	for i, call := range s.all {
		if strings.HasPrefix(call, prefix) {
			return i
		}
	}
	return -1
}

// over checks what must hold at the end of every scene.
func (s *scene) over() {
	if s.Rig == nil || s.t.Failed() {
		return
	}
	assert.Empty(s.t, s.Rig.Violations())
	assert.Empty(s.t, s.rec.Violations())
	if !s.Done() {
		return
	}
	s.nothingMore()
	assert.Zero(s.t, s.Memory().InUse(), "memory is left over")
	closed, _ := s.Closed()
	assert.True(s.t, closed, "the socket was given up")
	for _, l := range s.layers {
		if l.opened {
			assert.Equal(s.t, 1, l.closes, "layer %s is released once", l.name)
		}
	}
}

// nothingMore lets everything happen that still could, and asserts that no call follows.
func (s *scene) nothingMore() {
	s.t.Helper()
	require.True(s.t, s.Done())
	n := len(s.all)
	s.Feed("late")
	s.FeedEOF()
	s.Allow(-1)
	s.Advance(time.Hour)
	s.Do(func(c *conn.Conn) {
		_, err := c.Send([]byte("late"))
		assert.Equal(s.t, conn.ErrNotConnected, err)
		c.Resume()
		c.Close()
		c.Abort(io.ErrClosedPipe)
		assert.Zero(s.t, c.StartTimer(time.Second))
	})
	s.Settle()
	assert.Equal(s.t, n, len(s.all), "calls after the last one: %q", s.all[n:])
}

// send sends p and asserts that it is accepted.
func (s *scene) send(c *conn.Conn, p string) conn.SendToken {
	s.t.Helper()
	token, err := c.Send([]byte(p))
	assert.NoError(s.t, err)
	return token
}

// doSend sends p as the owner's message.
func (s *scene) doSend(p string) {
	s.t.Helper()
	s.Do(func(c *conn.Conn) { s.send(c, p) })
}

// refused asserts that Send is refused with want.
func (s *scene) refused(c *conn.Conn, want conn.SendError) {
	s.t.Helper()
	token, err := c.Send([]byte("refused"))
	assert.Equal(s.t, want, err)
	assert.Zero(s.t, token)
	assert.False(s.t, c.IsWriteable())
}

// endErrors are the errors that a connection ended with.
type endErrors struct{ closed, failed, eof error }

// An errorTap keeps the errors that the recorder only writes down.
type errorTap struct {
	conn.Handler
	seen *endErrors
}

func (e *errorTap) OnClosed(c *conn.Conn, err error) {
	e.seen.closed = err
	e.Handler.OnClosed(c, err)
}

func (e *errorTap) OnConnectFailed(c *conn.Conn, err error) {
	e.seen.failed = err
	e.Handler.OnConnectFailed(c, err)
}

func (e *errorTap) OnEOF(c *conn.Conn, err error) {
	e.seen.eof = err
	e.Handler.OnEOF(c, err)
}

// sents are the calls OnSent first to OnSent last.
func sents(first, last int) (calls []string) {
	for i := first; i <= last; i++ {
		calls = append(calls, fmt.Sprintf("OnSent %d", i))
	}
	return calls
}

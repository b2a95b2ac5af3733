package liveness_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/interceptor"
	"github.com/galago-go/galago/interceptor/liveness"
)

// A fakeLink is what a layer sees of a connection, where a test needs what a connection never does on purpose. It takes
// everything that goes down; what came of that is the test's to say.
type fakeLink struct {
	t        testing.TB
	layer    *liveness.Layer
	now      time.Time
	deadline time.Time
	unread   int
	closing  bool
	ready    bool
	up, down string
	raised   []any
	posts    []func() error
	ended    error
	fails    error // what Down answers
}

var _ interceptor.Link = (*fakeLink)(nil)

func newLink(t testing.TB, layer liveness.Maker) *fakeLink {
	t.Helper()
	k := &fakeLink{t: t, layer: layer().(*liveness.Layer), now: time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)}
	require.NoError(t, k.layer.Open(k))
	return k
}

func (k *fakeLink) Up(p []byte) error { k.up += string(p); return nil }

func (k *fakeLink) Down(bufs [][]byte) error {
	if k.fails != nil {
		return k.fails
	}
	for _, b := range bufs {
		k.down += string(b)
	}
	return nil
}

func (k *fakeLink) EOF() error              { return nil }
func (k *fakeLink) Ready()                  { k.ready = true }
func (k *fakeLink) Raise(ev any)            { k.raised = append(k.raised, ev) }
func (k *fakeLink) Post(f func() error)     { k.posts = append(k.posts, f) }
func (k *fakeLink) Hold()                   {}
func (k *fakeLink) Release()                {}
func (k *fakeLink) End(err error)           { k.ended = err }
func (k *fakeLink) Closing() bool           { return k.closing }
func (k *fakeLink) Unread() int             { return k.unread }
func (k *fakeLink) Info() interceptor.Info  { return interceptor.Info{} }
func (k *fakeLink) Now() time.Time          { return k.now }
func (k *fakeLink) SetDeadline(t time.Time) { k.deadline = t }

// takeDown returns what went down, and says that the system took it.
func (k *fakeLink) takeDown() string {
	s := k.down
	k.down = ""
	if s != "" {
		k.layer.Wrote(k, len(s), 0)
	}
	return s
}

// pass lets d pass, and serves deadlines at their time. What is posted runs at once; all that goes down is taken.
func (k *fakeLink) pass(d time.Duration) (down string) {
	k.t.Helper()
	for end := k.now.Add(d); ; {
		if k.deadline.IsZero() || k.deadline.After(end) {
			k.now = end
			return down
		}
		k.now = k.deadline
		down += k.serve()
	}
}

// serve serves the deadline, however late it is.
func (k *fakeLink) serve() (down string) {
	k.t.Helper()
	k.deadline = time.Time{}
	require.NoError(k.t, k.layer.Expire(k, k.now))
	down = k.takeDown()
	posts := k.posts
	k.posts = nil
	for _, f := range posts {
		require.NoError(k.t, f())
	}
	return down + k.takeDown()
}

// events returns the types of what was raised since the last call.
func (k *fakeLink) events() (names []string) {
	for _, ev := range k.raised {
		names = append(names, text(ev))
	}
	k.raised = nil
	return names
}

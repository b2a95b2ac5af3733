package conn_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/conn/frame"
	"github.com/galago-go/galago/interceptor"
)

// A watchLayer does something when bytes, or the end, come up.
type watchLayer struct {
	interceptor.Pass
	up  func(l interceptor.Link, p []byte) error
	eof func(l interceptor.Link)
}

func (f watchLayer) Up(l interceptor.Link, p []byte) error {
	if f.up != nil {
		return f.up(l, p)
	}
	return l.Up(p)
}

func (f watchLayer) EOF(l interceptor.Link) error {
	if f.eof != nil {
		f.eof(l)
	}
	return nil
}

func (f watchLayer) layers() []interceptor.Factory {
	return []interceptor.Factory{func() interceptor.Interceptor { return f }}
}

// The end is told by one report, long before reading gets there: a pause that comes in between must not hide it.
func TestAPauseBehindTheLastBytesDoesNotHideTheEnd(t *testing.T) {
	p := prove(t, conn.Config{}, conntest.Manual())
	p.on[`OnReceived "BBBB"`] = (*conn.Conn).Pause
	p.Feed("AAAA", "BBBB")
	p.FeedEOF()
	p.Settle()
	p.heard("nothing is unread", "OnConnected", `OnReceived "AAAA"`, `OnReceived "BBBB"`, "OnEOF")
}

func TestAPauseBehindAPauseDoesNotHideTheEnd(t *testing.T) {
	p := prove(t, conn.Config{})
	p.Do((*conn.Conn).Pause)
	p.Feed("AAAA")
	p.FeedEOF()
	p.heard("bytes are unread", "OnConnected")
	p.on[`OnReceived "AAAA"`] = (*conn.Conn).Pause
	p.Do((*conn.Conn).Resume)
	p.heard("nothing is unread now", `OnReceived "AAAA"`, "OnEOF")
}

func TestAPauseBeforeTheLastBytesDoesNotHideAReset(t *testing.T) {
	p := prove(t, conn.Config{}, conntest.Manual())
	p.on[`OnReceived "AAAA"`] = p.send("answer")
	p.on["OnSent 1"] = (*conn.Conn).Pause
	p.Settle()
	p.Feed("AAAA", "BBBB")
	p.Turn()
	p.Reset()
	p.Settle()
	p.heard("though bytes are unread", "OnConnected", `OnReceived "AAAA"`, "OnSent 1",
		"OnClosed conn: connection ended: read: connection reset by peer")
}

func TestASuspendedTurnDoesNotForgetTheEnd(t *testing.T) {
	p := prove(t, conn.Config{}, conntest.Manual())
	p.on["OnSent 1"] = (*conn.Conn).Pause
	p.Settle()
	p.Do(p.send("x"))
	p.Turn()
	p.Suspend(true)
	p.FeedEOF()
	p.Turn()
	p.heard("nothing is told to a suspended owner", "OnConnected")
	p.Suspend(false)
	p.Settle()
	p.heard("the pause is older than the reading that would have found the end", "OnSent 1", "OnEOF")
}

// The end was read, but what it caused on the way ended the reading before it could be told.
func TestAPauseDoesNotHideAnEndThatIsKnown(t *testing.T) {
	raise := watchLayer{eof: func(l interceptor.Link) { l.Raise("the end") }}
	p := prove(t, conn.Config{Layers: raise.layers()}, conntest.Manual())
	p.Settle()
	p.FeedEOF()
	p.Do((*conn.Conn).Pause)
	p.Settle()
	p.heard("", "OnConnected", `OnEvent "the end"`, "OnEOF")
}

func TestAFrameCutShortIsReportedThoughALayerEndedTheConnection(t *testing.T) {
	ending := watchLayer{up: func(l interceptor.Link, p []byte) error {
		err := errors.Join(l.Up(p), l.EOF())
		l.End(errors.New("no more"))
		return err
	}}
	p := prove(t, conn.Config{Split: frame.Fixed(4), Layers: ending.layers()})
	p.Feed("AAAAB")
	p.FeedEOF()
	p.heard("the layer's reason stays the cause", "OnConnected", `OnReceived "AAAA"`,
		"OnEOF the stream broke off inside a frame, after 1 bytes of it: unexpected EOF",
		"OnClosed conn: connection ended: layer: no more")
}

// Once our direction ends, Send is refused for good, and waiting for it would be for ever.
func TestReadWaitsDoesNotOutliveCloseWrite(t *testing.T) {
	p := prove(t, conn.Config{HighWater: 10, ReadWaits: conn.On})
	p.Allow(0)
	p.Do(p.send(strings.Repeat("x", 20)))
	p.Feed("waits")
	p.heard("the reader is waited for", "OnConnected", "OnThrottled")
	p.Do((*conn.Conn).CloseWrite)
	p.heard("reading goes on", `OnReceived "waits"`)
	p.Allow(-1)
	p.FeedEOF()
	p.heard("", "OnSent 1", "OnEOF", "OnClosed")
}

// While closing, a pause does not hold reading back, for what is read is dropped. Who else holds it still does.
func TestAPauseWhileClosingDoesNotFreeALayersOutput(t *testing.T) {
	answering := watchLayer{up: func(l interceptor.Link, _ []byte) error {
		return l.Down([][]byte{[]byte(strings.Repeat("a", 20))})
	}}
	p := prove(t, conn.Config{HighWater: 10, Layers: answering.layers()})
	p.Allow(0)
	p.Feed("question")
	p.Do(func(c *conn.Conn) { c.Pause(); c.Close() })
	p.Feed("another")
	assert.Equal(t, len("another"), p.Unread(), "more than HighWater of the layer's own is unsent")
	p.Allow(-1)
	assert.Zero(t, p.Unread(), "it is read, and dropped, once that is written")
	assert.Equal(t, strings.Repeat("a", 20), p.Wire())
}

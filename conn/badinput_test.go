package conn_test

import (
	"bufio"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/conn/frame"
	"github.com/galago-go/galago/interceptor"
)

// A frame that is too long is an error that names its length, the limit and the cure, whoever sets the limit. Nothing of
// it is delivered.
func TestBadInput_AFrameThatIsTooLong(t *testing.T) {
	const cure = "see whether both sides frame alike"
	for _, test := range []struct {
		name string
		cfg  conn.Config
		feed string
		says []string
	}{
		{"the framer's limit", conn.Config{Split: frame.Prefixed(4, 100)}, "\x00\x00\x01\x00",
			[]string{"256 bytes", "at most 100", "raise the limit", cure}},
		{"MaxFrame", conn.Config{Split: frame.Lines(1000), MaxFrame: 10}, strings.Repeat("x", 11) + "\n",
			[]string{"11 bytes", "Config.MaxFrame, 10", "raise it", cure}},
		{"the default of MaxFrame", conn.Config{Split: frame.Lines(1 << 20)}, strings.Repeat("x", 65537) + "\n",
			[]string{"65537 bytes", "Config.MaxFrame, 65536", "raise it", cure}},
		{"a frame without end", conn.Config{Split: bufio.ScanLines, MaxFrame: 10}, strings.Repeat("x", 200),
			[]string{"200 bytes make no frame", "Config.MaxFrame is 10", "raise it", cure}},
	} {
		t.Run(test.name, func(t *testing.T) {
			rec := &conntest.Recorder{}
			r := conntest.New(rec, test.cfg, conntest.Checked(t))
			r.Feed(test.feed)
			calls := rec.Calls()
			require.Len(t, calls, 2)
			assert.Equal(t, "OnConnected", calls[0])
			for _, s := range append(test.says, "OnClosed ", "frame") {
				assert.Contains(t, calls[1], s)
			}
		})
	}
}

// A Send that can never be accepted says why, and what to do.
func TestBadInput_ASendThatIsTooLarge(t *testing.T) {
	r := conntest.New(&conntest.Recorder{}, conn.Config{MaxPending: 10}, conntest.Checked(t))
	r.Do(func(c *conn.Conn) {
		_, err := c.Send(make([]byte, 11))
		assert.Equal(t, conn.ErrTooLarge, err)
		assert.ErrorContains(t, err, "more than Config.MaxPending, split it")
		_, err = c.Send(make([]byte, 10))
		assert.NoError(t, err)
	})
}

// Durations have no bad values: what lies before now is now, and none is none.
func TestBadInput_NegativeDurations(t *testing.T) {
	rec := &conntest.Recorder{Stay: true}
	r := conntest.New(rec, conn.Config{IdleTimeout: 1}, conntest.Checked(t))
	r.Do(func(c *conn.Conn) {
		c.SetIdleTimeout(math.MinInt64)
		assert.EqualValues(t, 1, c.StartTimer(math.MinInt64))
	})
	r.Advance(1e9)
	assert.Equal(t, []string{"OnConnected", "OnTimer 1"}, rec.Calls())
}

func TestBadInput_FactoriesThatMakeNothing(t *testing.T) {
	nothing := func() interceptor.Interceptor { return nil }
	rec := &conntest.Recorder{}
	conntest.New(rec, conn.Config{Layers: []interceptor.Factory{nothing}}, conntest.Checked(t))
	calls := rec.Calls()
	require.Len(t, calls, 1)
	for _, s := range []string{"OnConnectFailed ", "the layer is nil", "a Factory must make one"} {
		assert.Contains(t, calls[0], s)
	}

	r := conntest.New(rec, conn.Config{}, conntest.Checked(t))
	r.Do(func(c *conn.Conn) {
		err := c.Upgrade(nil)
		assert.ErrorContains(t, err, "the factory is nil: it must be a function that makes a layer")
		assert.Equal(t, conn.StateConnected, c.State(), "nothing was changed")
		assert.Nil(t, c.Layers())
	})
}

func TestBadInput_ARigWithoutAConnection(t *testing.T) {
	assert.PanicsWithValue(t,
		"conntest: conn: Config.MaxFrame is -1: it must be 0 (for the default) or a number of bytes",
		func() { conntest.New(&conntest.Recorder{}, conn.Config{MaxFrame: -1}) })
}

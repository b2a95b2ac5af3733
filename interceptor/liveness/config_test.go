package liveness_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/interceptor"
	"github.com/galago-go/galago/interceptor/liveness"
)

type formCase struct {
	name  string
	make  func(liveness.Config) (liveness.Maker, error)
	probe func([]byte) []byte // what Config.Probe must be, at least
}

var forms = []formCase{
	{"Framed", liveness.Framed, nil},
	{"Passive", liveness.Passive, nil},
	{"Watchdog", liveness.Watchdog, ping},
}

func ping(dst []byte) []byte { return append(dst, "PING\r\n"...) }

func TestLIV25_ConfigurationsThatCannotWork(t *testing.T) {
	const any = "Framed Passive Watchdog"
	for _, test := range []struct {
		cfg    liveness.Config
		forms  string
		says   []string
		accept bool
	}{
		{liveness.Config{}, any, nil, true},
		{liveness.Config{Timeout: 10 * ms}, "Framed Passive", nil, true},
		{liveness.Config{Timeout: 10*ms - 1}, any, []string{"Config.Timeout is 9.999999ms"}, false},
		{liveness.Config{Timeout: -1}, any, []string{"Config.Timeout is -1ns"}, false},
		{liveness.Config{Timeout: 100 * year}, any, nil, true},
		{liveness.Config{Timeout: 100*year + 1}, any, []string{"Config.Timeout", "100 years"}, false},
		{liveness.Config{Timeout: liveness.Never}, "Framed Passive", nil, true},
		{liveness.Config{Timeout: liveness.Never}, "Watchdog", []string{"Config.Timeout", "6 s to 100 years"}, false},
		{liveness.Config{Timeout: 6*s - 1}, "Watchdog", []string{"Config.Timeout", "6 s to 100 years"}, false},
		{liveness.Config{Fraction: 1}, "Framed Passive", []string{"Config.Fraction is 1", "2 to 16"}, false},
		{liveness.Config{Fraction: 17}, "Framed Passive", []string{"Config.Fraction is 17", "2 to 16"}, false},
		{liveness.Config{Fraction: 4}, "Watchdog", []string{"Fraction", "RFC 3539"}, false},
		{liveness.Config{MinSpeak: -1}, any, []string{"Config.MinSpeak is -1ns"}, false},
		{liveness.Config{MinSpeak: math.MaxInt64}, any, []string{"Config.MinSpeak", "100 years"}, false},
		{liveness.Config{Suspect: -0.5}, any, []string{"Config.Suspect is -0.5"}, false},
		{liveness.Config{Suspect: 1.01}, any, []string{"Config.Suspect is 1.01"}, false},
		{liveness.Config{Suspect: math.NaN()}, any, []string{"Config.Suspect is NaN"}, false},
		{liveness.Config{Suspect: 1}, "Framed Passive", nil, true},
		{liveness.Config{Reconcile: 4}, any, []string{"Config.Reconcile is Reconcile(4)"}, false},
		{liveness.Config{Reconcile: liveness.Refuse}, "Framed", nil, true},
		{liveness.Config{Reconcile: liveness.Refuse}, "Passive Watchdog", []string{"Config.Reconcile is refuse"}, false},
		{liveness.Config{OnDown: liveness.KeepFor(0)}, any, []string{"Config.OnDown is KeepFor(0s)"}, false},
		{liveness.Config{OnDown: liveness.KeepFor(1)}, any, nil, true},
		{liveness.Config{Reopen: true}, "Framed Passive", []string{"Config.Reopen is true"}, false},
		{liveness.Config{Reopen: true}, "Watchdog", nil, true},
		{liveness.Config{Timeout: 1, Fraction: 99, Suspect: 2}, "Framed", []string{"Timeout", "Fraction", "Suspect"}, false},
	} {
		for _, f := range forms {
			if !assert.ObjectsAreEqual(true, containsWord(test.forms, f.name)) {
				continue
			}
			test.cfg.Probe = f.probe
			maker, err := f.make(test.cfg)
			if test.accept {
				assert.NoError(t, err, "%s %+v", f.name, test.cfg)
				continue
			}
			assert.Nil(t, maker)
			if assert.Error(t, err, "%s %+v", f.name, test.cfg) {
				assert.Contains(t, err.Error(), "liveness: "+f.name)
				for _, s := range test.says {
					assert.Contains(t, err.Error(), s)
				}
			}
		}
	}
	_, err := liveness.Framed(liveness.Config{Probe: ping})
	assert.ErrorContains(t, err, "Config.Probe is set")
	_, err = liveness.Watchdog(liveness.Config{})
	assert.ErrorContains(t, err, "Config.Probe is nil")
}

func containsWord(list, word string) bool {
	for _, w := range splitWords(list) {
		if w == word {
			return true
		}
	}
	return false
}

// Without a connection there is nothing to find; and a layer that was never opened answers.
func TestALayerWithoutAConnection(t *testing.T) {
	_, ok := liveness.Of(nil)
	assert.False(t, ok)
	_, ok = liveness.Of(new(interceptor.Chain))
	assert.False(t, ok)
	for _, f := range forms {
		maker, err := f.make(liveness.Config{Probe: f.probe, Timeout: 8 * s})
		require.NoError(t, err)
		c := new(interceptor.Chain)
		require.NoError(t, c.Push(maker()))
		l, ok := liveness.Of(c)
		require.True(t, ok)
		assert.Equal(t, liveness.Status{Timeout: 8 * s}, l.Status())
		l.Heard()
		l.Answered()
		l.SetProbe(ping)
		assert.Error(t, l.Speak())
		assert.NoError(t, l.SetTimeout(10*s))
		assert.Equal(t, 10*s, l.Status().Timeout)
	}
}

// What one connection changes is its own.
func TestOneConnectionsTimeoutIsNotTheOthers(t *testing.T) {
	layer := passive(t, liveness.Config{Timeout: 8 * s})
	a, b := open(t, layer), open(t, layer)
	require.NoError(t, a.layer().SetTimeout(16*s))
	assert.Equal(t, 16*s, a.layer().Status().Timeout)
	assert.Equal(t, 8*s, b.layer().Status().Timeout)
}

func TestTextOfEventsAndErrors(t *testing.T) {
	at := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	info := liveness.Info{Silent: 1500 * ms, Timeout: 2 * s, LastHeard: at}
	stuck := info
	stuck.Cause = liveness.WriteStalled
	late := info
	late.Cause = liveness.LocalStall
	for want, ev := range map[string]any{
		"peer suspect: silent for 1.5s, timeout 2s":                liveness.PeerSuspect{Info: info},
		"peer suspect: silent for 1.5s, timeout 2s (local stall)":  liveness.PeerSuspect{Info: late},
		"peer down: silent for 1.5s, timeout 2s (writing stalled)": liveness.PeerDown{Info: stuck},
		"peer still down (2): silent for 1.5s, timeout 2s":         liveness.PeerDown{Info: info, Repeat: 2},
		"peer up: it was down for 3s":                              liveness.PeerUp{Info: info, DownFor: 3 * s},
		"peer timings: timeout 2s, speaks at most every 1ms":       liveness.PeerTimings{Timeout: 2 * s, MinSpeak: ms},
		"peer timings: no timeout":                                 liveness.PeerTimings{Timeout: liveness.Never},
		"liveness: the peer is down: silent for 1.5s, timeout 2s":  liveness.PeerDown{Info: info}.Err(),
		`liveness: the peer said goodbye, code 4: "too fast"`:      &liveness.ByeError{Code: 4, Reason: "too fast"},
		"silence":       liveness.Silence,
		"Cause(9)":      liveness.Cause(9),
		"Reopening":     liveness.StateReopening,
		"State(99)":     liveness.State(99),
		"stretch":       liveness.Stretch,
		"Reconcile(77)": liveness.Reconcile(77),
	} {
		assert.Equal(t, want, text(ev))
	}
	err := liveness.PeerDown{Info: info}.Err()
	assert.ErrorIs(t, err, liveness.ErrPeerDown)
	var down *liveness.DownError
	require.ErrorAs(t, err, &down)
	assert.True(t, down.Timeout())
	liveness.PeerDown{Info: info}.Keep() // without a layer, as a test of a handler makes them
	liveness.PeerDown{Info: info}.KeepFor(s)
}

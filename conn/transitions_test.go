package conn

import (
	"go/parser"
	"go/token"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var allStates = []State{StateConnecting, StateStarting, StateConnected, StateUpgrading, StateClosing, StateClosed}

// packageDoc is the documentation of the package, as written in doc.go.
func packageDoc(t *testing.T) string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments)
	require.NoError(t, err)
	return f.Doc.Text()
}

// documentedTransitions reads the list "# States": a line names a state, an arrow and the next state; one that begins
// with the arrow goes on with the state of the line above.
func documentedTransitions(t *testing.T) (list []string) {
	_, doc, ok := strings.Cut(packageDoc(t), "# States\n")
	require.True(t, ok, "the list of states")
	doc, _, ok = strings.Cut(doc, "# Promises")
	require.True(t, ok)
	from := ""
	for line := range strings.Lines(doc) {
		before, after, arrow := strings.Cut(line, "->")
		if !arrow {
			continue
		}
		if name := strings.TrimSpace(before); name != "" {
			from = name
		}
		next, why, _ := strings.Cut(strings.TrimSpace(after), " ")
		require.NotEmpty(t, strings.TrimSpace(why), "%s -> %s: the list says what leads there", from, next)
		list = append(list, from+" -> "+next)
	}
	return list
}

func TestTheTableOfTransitionsIsTheDocumentedOne(t *testing.T) {
	var table []string
	for _, from := range allStates {
		for _, next := range allStates {
			if from.mayFollow(next) {
				table = append(table, from.String()+" -> "+next.String())
			}
		}
	}
	documented := documentedTransitions(t)
	slices.Sort(table)
	slices.Sort(documented)
	documented = slices.Compact(documented) // one way may have several reasons
	assert.Equal(t, documented, table)
	assert.Len(t, transitions, len(allStates), "the table knows each state")
	assert.Zero(t, transitions[StateClosed], "nothing follows the end")
}

func TestAWayThatTheTableDoesNotHaveIsABug(t *testing.T) {
	for _, from := range allStates {
		for _, next := range allStates {
			c := Conn{state: from, cfg: new(Config)}
			if from.mayFollow(next) {
				c.setState(next)
				assert.Equal(t, next, c.state)
				continue
			}
			assert.PanicsWithValue(t, "BUG: conn: no way from state "+from.String()+" to "+next.String(),
				func() { c.setState(next) })
		}
	}
}

// loggedTransitions runs f on a fresh connection, and returns its changes of state as its logger got them.
func loggedTransitions(f func(rig *clockRig)) []string {
	var log strings.Builder
	rig := clockRig{}
	rig.now = time.Unix(1, 0)
	rig.cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
	rig.d.Init(&rig, &rig.b, &rig.cfg)
	rig.d.Connected()
	rig.turns(nil)
	f(&rig)
	return strings.Split(strings.TrimSpace(log.String()), "\n")
}

func TestEachChangeOfStateIsLogged(t *testing.T) {
	assert.Equal(t, []string{
		`level=INFO msg=connection from=Connecting to=Starting remote=192.0.2.2:40000`,
		`level=INFO msg=connection from=Starting to=Connected remote=192.0.2.2:40000`,
		`level=INFO msg=connection from=Connected to=Closing remote=192.0.2.2:40000`,
		`level=INFO msg=connection from=Closing to=Closed remote=192.0.2.2:40000`,
	}, loggedTransitions(func(rig *clockRig) {
		rig.turns((*Conn).Close)
		rig.turns(func(c *Conn) { c.Abort(nil) })
	}))
}

// An orderly end passes through Closing, even if there is nothing left to do there.
func TestBothEndsLeadThroughClosing(t *testing.T) {
	assert.Equal(t, []string{
		`level=INFO msg=connection from=Connecting to=Starting remote=192.0.2.2:40000`,
		`level=INFO msg=connection from=Starting to=Connected remote=192.0.2.2:40000`,
		`level=INFO msg=connection from=Connected to=Closing remote=192.0.2.2:40000`,
		`level=INFO msg=connection from=Closing to=Closed remote=192.0.2.2:40000`,
	}, loggedTransitions(func(rig *clockRig) {
		rig.turns((*Conn).CloseWrite)
		rig.b.ended = true
		rig.d.Ready(Readable | Hangup)
		rig.turns(nil)
	}))
}

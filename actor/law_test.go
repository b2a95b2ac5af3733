//go:build linux

package actor_test

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/stretchr/testify/assert"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
)

// A law is what holds in every scenario, for one probe. Its fields are bare: the race detector tells if two callbacks
// run at once.
type law struct {
	inside    bool // in a callback
	started   bool
	connected bool
	ended     bool // OnClosed or OnConnectFailed was given
	throttled bool
	restarted bool // the connection has another value now, or had one before: some of its calls went there
	settled   conn.SendToken
	failed    bool // a send failed
	breaches  []string
}

func (l *law) breach(format string, args ...any) {
	if len(l.breaches) < 10 {
		l.breaches = append(l.breaches, fmt.Sprintf(format, args...))
	}
}

// enter judges the callback that note names.
func (l *law) enter(note string) {
	name, arg, _ := strings.Cut(note, " ")
	if l.inside {
		l.breach("%s comes inside another callback", note)
	}
	l.inside = true
	if l.ended && strings.HasPrefix(name, "On") {
		l.breach("%s comes behind the last callback", note)
	}
	switch name {
	case "Started":
		*l = law{inside: true, started: true, restarted: l.restarted || l.started && !l.ended, breaches: l.breaches}
	case "Restarting":
		l.restarted = true
	case "OnConnected":
		if l.connected {
			l.breach("OnConnected comes twice")
		}
		l.connected = true
	case "OnConnectFailed":
		if l.connected {
			l.breach("OnConnectFailed comes behind OnConnected")
		}
		l.ended = true
	case "OnClosed":
		l.late(name)
		l.ended = true
	case "OnThrottled", "OnUnthrottled":
		l.late(name)
		if on := name == "OnThrottled"; on == l.throttled && !l.restarted {
			l.breach("%s comes twice in a row", name)
		} else {
			l.throttled = on
		}
	case "OnSent", "OnSendFailed":
		l.late(name)
		l.settle(name, arg)
	case "OnReceived", "OnEOF", "OnTimer", "OnIdle":
		l.late(name)
	}
}

func (l *law) leave() { l.inside = false }

// late judges what may only come behind OnConnected.
func (l *law) late(name string) {
	if !l.connected && !l.restarted {
		l.breach("%s comes before OnConnected", name)
	}
}

func (l *law) settle(name, arg string) {
	n, _ := strconv.ParseUint(arg, 10, 64)
	t := conn.SendToken(n)
	if t <= l.settled {
		l.breach("%s %d comes behind the outcome of %d", name, t, l.settled)
	}
	l.settled = t
	if name == "OnSendFailed" {
		l.failed = true
	} else if l.failed {
		l.breach("OnSent %d comes behind OnSendFailed", t)
	}
}

// know remembers a if it is a probe.
func (f *fixture) know(a actor.Actor) {
	if p, ok := a.(*probe); ok && p != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		if !f.probes[p] { // else it may be in use
			p.restarted = f.restarts
			f.probes[p] = true
		}
	}
}

// keptTheLaw asserts that all probes heard what they must, and nothing else. The network must have been shut down.
func (f *fixture) keptTheLaw() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for p := range f.probes {
		if p.started && !p.ended && !p.restarted {
			p.breach("there was no last callback")
		}
		assert.Empty(f.t, p.breaches, "of %v", p.tail())
	}
}

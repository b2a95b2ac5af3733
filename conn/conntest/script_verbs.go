package conntest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/galago-go/galago/conn"
)

// verbs are what a line may begin with, reactions what a line of a reaction may.
var verbs, reactions map[string]func(*args) action

func init() {
	reactions = maps.Clone(ownerVerbs)
	maps.Copy(reactions, answerVerbs)
	verbs = maps.Clone(ownerVerbs)
	maps.Copy(verbs, rigVerbs)
	verbs["config"] = config
	verbs["open"] = open
	verbs["off"] = func(*args) action {
		return action{place: anywhere, other: func(s *script) { s.calls = nil }}
	}
}

// owner is an action without a result.
func owner(f func(c *conn.Conn)) action {
	return action{owner: func(_ *script, c *conn.Conn) string { f(c); return "" }}
}

// asks is an action with a result.
func asks(f func(c *conn.Conn) any) action {
	return action{owner: func(_ *script, c *conn.Conn) string { return fmt.Sprint(f(c)) }}
}

// sends is the result of a Send.
func sends(t conn.SendToken, err error) string {
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(t)
}

var ownerVerbs = map[string]func(*args) action{
	"send": func(a *args) action {
		var bufs [][]byte
		if a.more() {
			for _, s := range a.strs() {
				bufs = append(bufs, []byte(s))
			}
		}
		return asks(func(c *conn.Conn) any { return sends(c.Send(bufs...)) })
	},
	"write": func(a *args) action {
		p := []byte(a.str())
		return asks(func(c *conn.Conn) any {
			n, err := c.Write(p)
			if err != nil {
				return fmt.Sprintf("%d, %v", n, err)
			}
			return n
		})
	},
	"flush":      func(*args) action { return owner((*conn.Conn).Flush) },
	"close":      func(*args) action { return owner((*conn.Conn).Close) },
	"closewrite": func(*args) action { return owner((*conn.Conn).CloseWrite) },
	"pause":      func(*args) action { return owner((*conn.Conn).Pause) },
	"resume":     func(*args) action { return owner((*conn.Conn).Resume) },
	"abort": func(a *args) action {
		err := a.optional()
		return owner(func(c *conn.Conn) { c.Abort(err) })
	},
	"split": func(a *args) action {
		split := a.split()
		return owner(func(c *conn.Conn) { c.SetSplit(split) })
	},
	"upgrade": func(a *args) action {
		f := a.layer()
		return asks(func(c *conn.Conn) any {
			if err := c.Upgrade(f); err != nil {
				return err
			}
			return "begun"
		})
	},
	"timer": func(a *args) action {
		d := a.duration()
		return asks(func(c *conn.Conn) any { return c.StartTimer(d) })
	},
	"stoptimer": func(a *args) action {
		t := conn.TimerToken(a.int())
		return asks(func(c *conn.Conn) any { return c.StopTimer(t) })
	},
	"idle": func(a *args) action {
		d := a.duration()
		return owner(func(c *conn.Conn) { c.SetIdleTimeout(d) })
	},
	"state":     func(*args) action { return asks(func(c *conn.Conn) any { return c.State() }) },
	"writeable": func(*args) action { return asks(func(c *conn.Conn) any { return c.IsWriteable() }) },
	"stats":     func(*args) action { return asks(func(c *conn.Conn) any { return stats(c.Stats()) }) },
}

func stats(s conn.Stats) string {
	return fmt.Sprintf("read %d, written %d, received %d; sends: accepted %d, sent %d, failed %d, refused %d, "+
		"pending %d bytes; throttled %d times, %v", s.BytesRead, s.BytesWritten, s.Received, s.Accepted, s.Sent,
		s.Failed, s.Refused, s.Pending, s.Throttles, s.Throttled)
}

// answerVerbs are for OnReceived alone; elsewhere they do nothing that anybody looks at.
var answerVerbs = map[string]func(*args) action{
	"echo": func(*args) action {
		return action{owner: func(s *script, c *conn.Conn) string { return sends(c.Send(s.data)) }}
	},
	"yield": func(*args) action {
		return action{owner: func(s *script, _ *conn.Conn) string { s.answer = conn.Yield; return "" }}
	},
	"refuse": func(a *args) action {
		err := errors.New(a.str())
		return action{owner: func(s *script, _ *conn.Conn) string { s.answer = err; return "" }}
	},
}

// rig is an action of the others.
func rig(f func(r *Rig)) action { return action{other: func(s *script) { f(s.rig) }} }

var rigVerbs = map[string]func(*args) action{
	"feed": func(a *args) action {
		p := a.strs()
		return rig(func(r *Rig) { r.Feed(p...) })
	},
	"eof": func(*args) action { return rig((*Rig).FeedEOF) },
	"readerror": func(a *args) action {
		err := errors.New(a.str())
		return rig(func(r *Rig) { r.FeedError(err) })
	},
	"reset": func(*args) action { return rig((*Rig).Reset) },
	"allow": func(a *args) action {
		n := everything
		if a.more() && a.tokens[0].text == "all" {
			a.word()
		} else {
			n = a.int()
		}
		return rig(func(r *Rig) { r.Allow(n) })
	},
	"failwrite": func(a *args) action {
		err := errors.New(a.str())
		return rig(func(r *Rig) { r.FailWrite(err) })
	},
	"advance": func(a *args) action {
		d := a.duration()
		return rig(func(r *Rig) { r.Advance(d) })
	},
	"stall": func(a *args) action {
		d := a.duration()
		return rig(func(r *Rig) { r.Stall(d) })
	},
	"slept": func(a *args) action {
		d := a.duration()
		return rig(func(r *Rig) { r.Slept(d) })
	},
	"turn":      func(*args) action { return rig((*Rig).Turn) },
	"settle":    func(*args) action { return rig((*Rig).Settle) },
	"suspend":   func(*args) action { return rig(func(r *Rig) { r.Suspend(true) }) },
	"unsuspend": func(*args) action { return rig(func(r *Rig) { r.Suspend(false) }) },
	"connecting": func(a *args) action {
		n := a.int()
		return rig(func(r *Rig) { r.Connecting(n) })
	},
	"connected": func(*args) action { return rig((*Rig).Connected) },
	"fail": func(a *args) action {
		stage := conn.StageDial
		switch w := a.word(); w {
		case "dial":
		case "dns":
			stage = conn.StageDNS
		default:
			a.fail("%q is neither dial nor dns", w)
		}
		err := errors.New(a.str())
		return rig(func(r *Rig) { r.Fail(stage, err) })
	},
	"deadline": func(*args) action {
		return action{other: func(s *script) {
			if at := s.rig.Deadline(); !at.IsZero() {
				s.print(fmt.Sprint("deadline: in ", at.Sub(s.rig.Now())))
				return
			}
			s.print("deadline: none")
		}}
	},
	"memory": func(*args) action {
		return action{other: func(s *script) { s.print(fmt.Sprintf("memory: %d bytes", s.rig.Memory().InUse())) }}
	},
}

// open makes the connection.
func open(a *args) action {
	var opts []Option
	for a.more() {
		switch w := a.word(); w {
		case "dialed":
			opts = append(opts, Dialed())
		case "manual":
			opts = append(opts, Manual())
		case "armedonly":
			opts = append(opts, ArmedOnly())
		default:
			a.fail("%q is none of dialed, manual, armedonly", w)
		}
	}
	return action{place: beforeOpen, other: func(s *script) { s.open(opts) }}
}

// config sets one value of the configuration.
func config(a *args) action {
	var set func(*script)
	number := func(field func(*conn.Config) *int) {
		n := a.int()
		set = func(s *script) { *field(&s.cfg) = n }
	}
	span := func(field func(*conn.Config) *time.Duration) {
		d := a.duration()
		set = func(s *script) { *field(&s.cfg) = d }
	}
	switch name := a.word(); name {
	case "maxframe":
		number(func(c *conn.Config) *int { return &c.MaxFrame })
	case "highwater":
		number(func(c *conn.Config) *int { return &c.HighWater })
	case "lowwater":
		number(func(c *conn.Config) *int { return &c.LowWater })
	case "maxpending":
		number(func(c *conn.Config) *int { return &c.MaxPending })
	case "starttimeout":
		span(func(c *conn.Config) *time.Duration { return &c.StartTimeout })
	case "closetimeout":
		span(func(c *conn.Config) *time.Duration { return &c.CloseTimeout })
	case "idletimeout":
		span(func(c *conn.Config) *time.Duration { return &c.IdleTimeout })
	case "readwaits":
		i := slices.Index([]string{"auto", "on", "off"}, strings.ToLower(a.word()))
		if i < 0 {
			a.fail("readwaits is auto, on or off")
		}
		set = func(s *script) { s.cfg.ReadWaits = conn.Setting(i) }
	case "split":
		split := a.split()
		set = func(s *script) { s.cfg.Split = split }
	case "layer":
		f := a.layer()
		set = func(s *script) { s.cfg.Layers = append(s.cfg.Layers, f) }
	case "stay":
		set = func(s *script) { s.rec.Stay = true }
	default:
		a.fail("there is no setting %q", name)
	}
	return action{place: beforeOpen, other: set}
}

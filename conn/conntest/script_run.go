package conntest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/galago-go/galago/conn"
)

// A script is one that runs.
type script struct {
	layers []ScriptLayer
	cfg    conn.Config
	rec    Recorder
	rig    *Rig
	err    error // why it cannot go on

	out     []string
	indent  string
	newTurn bool // a turn began since the last line
	calls   []reaction

	call   string // the OnReceived that runs
	data   []byte // what it was given
	answer error  // what it returns
}

// An action is what one line does: to the connection, as its owner, or to the script and its Rig.
type action struct {
	owner func(s *script, c *conn.Conn) (result string)
	other func(s *script)
	place place
}

// place is where a line may stand.
type place uint8

const (
	afterOpen place = iota
	beforeOpen
	anywhere
)

// A reaction is what the owner does in certain callbacks.
type reaction struct {
	call  string // how the callback's text begins
	lines []line
	once  bool
	spent bool
}

// A line is an owner's action with its text.
type line struct {
	src string
	do  action
}

func newScript(layers []ScriptLayer) *script {
	s := &script{layers: layers}
	s.rec.Do = func(c *conn.Conn, call string) {
		s.print(call)
		if !strings.HasPrefix(call, "OnReceived") {
			s.react(c, call)
		}
		s.call = call
	}
	s.rec.Return = func(c *conn.Conn, data []byte) error {
		s.data, s.answer = data, nil
		s.react(c, s.call)
		s.data = nil
		return s.answer
	}
	return s
}

// open makes the Rig, now that all is configured.
func (s *script) open(opts []Option) {
	if s.err = s.cfg.Validate(); s.err != nil {
		return
	}
	trace := func(r *Rig) {
		r.trace = s.print
		r.onTurn = func() { s.newTurn = true }
	}
	s.rig = New(&s.rec, s.cfg, append(opts, trace)...)
}

// print adds a line of output. Lines of different turns are told apart.
func (s *script) print(line string) {
	if s.newTurn && len(s.out) > 0 && s.out[len(s.out)-1] != turnMark {
		s.out = append(s.out, turnMark)
	}
	s.newTurn = false
	s.out = append(s.out, s.indent+line)
}

const turnMark = "next turn"

// run does a block and returns its output.
func (s *script) run(b block) ([]string, error) {
	s.out, s.newTurn = nil, false
	for i := 0; i < len(b.steps); {
		st := b.steps[i]
		if err := s.placed(st.do.place); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", st.at, st.src, err)
		}
		if st.do.owner == nil {
			if st.do.other(s); s.err != nil {
				return nil, fmt.Errorf("%s: %s: %w", st.at, st.src, s.err)
			}
			i++
			continue
		}
		group := owners(b.steps[i:])
		s.rig.Do(func(c *conn.Conn) {
			for _, st := range group {
				if result := st.do.owner(s, c); result != "" {
					s.print(st.src + ": " + result)
				}
			}
		})
		i += len(group)
	}
	return s.out, nil
}

func (s *script) placed(p place) error {
	switch {
	case p == beforeOpen && s.rig != nil:
		return errors.New("it must stand before open")
	case p == afterOpen && s.rig == nil:
		return errors.New("open must come first")
	}
	return nil
}

// owners returns the owner's lines that steps begins with: they share a turn.
func owners(steps []step) []step {
	for n, st := range steps {
		if st.do.owner == nil {
			return steps[:n]
		}
	}
	return steps
}

// react does what the script says about a callback.
func (s *script) react(c *conn.Conn, call string) {
	for i := range s.calls {
		r := &s.calls[i]
		if r.spent || !strings.HasPrefix(call, r.call) {
			continue
		}
		r.spent = r.once
		for _, l := range r.lines {
			s.indent = "  "
			if result := l.do.owner(s, c); result != "" {
				s.print(l.src + ": " + result)
			} else {
				s.print(l.src)
			}
			s.indent = ""
		}
	}
}

// violations returns what was found while the script ran, and what is left at its end.
func (s *script) violations() []string {
	if s.rig == nil {
		return nil
	}
	v := append(s.rec.Violations(), s.rig.Violations()...)
	if n := s.rig.Memory().InUse(); s.rig.Done() && n != 0 {
		v = append(v, fmt.Sprintf("the connection is over, and %d bytes are still borrowed", n))
	}
	return v
}

package actor

import (
	"slices"
	"sync"
	"sync/atomic"
)

// A mailbox holds what was posted to an actor of ours and not handled yet: functions, system messages, user messages,
// each in order. Any goroutine posts; only the turn takes out.
type mailbox struct {
	pending atomic.Int32 // length of first, so that a turn need not take the lock to find nothing
	users   atomic.Int32 // user messages not handled yet

	mu    sync.Mutex
	state mailState
	grown bool // owner only: box.in or box.out was large since the mailbox was last idle
	box   *box // changed with mu held; nil while there is no mail, and mostly there never is
}

// A box holds the mail. Once there was a user message it stays.
type box struct {
	first []any // guarded by mu: functions and system messages
	in    []any // guarded by mu: user messages

	out  []any // owner only: taken over from in
	head int   // owner only: out is handled up to here
}

type mailState uint8 // guarded by mu

const (
	mailEarly  mailState = iota // nobody handles messages yet; they are kept
	mailOpen                    // whoever posts must see to it that there is a turn
	mailClosed                  // nobody handles messages any more; they are the poster's
)

// keepSlots is how large a queue an idle mailbox may keep.
const keepSlots = 32

// open lets messages be handled.
func (m *mailbox) open() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state == mailEarly {
		m.state = mailOpen
	}
}

// post adds user messages, in order and side by side. The caller acts on the state it returns.
func (m *mailbox) post(msgs ...any) mailState {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state != mailClosed {
		b := m.needBox()
		b.in = append(b.in, msgs...)
		m.users.Add(int32(len(msgs))) // after the push, so that a count above zero means that one can be taken
	}
	return m.state
}

// postSystem adds a system message; if first, before all others.
func (m *mailbox) postSystem(msg any, first bool) mailState { return m.postFirst(msg, first) }

// postFunc adds a function that is to run between two turns.
func (m *mailbox) postFunc(f func()) mailState { return m.postFirst(f, false) }

func (m *mailbox) postFirst(x any, first bool) mailState {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state == mailClosed {
		return m.state
	}
	b := m.needBox()
	if first {
		b.first = append([]any{x}, b.first...)
	} else {
		b.first = append(b.first, x)
	}
	m.pending.Add(1)
	return m.state
}

// needBox is called with mu held.
func (m *mailbox) needBox() *box {
	if m.box == nil {
		m.box = new(box)
	}
	return m.box
}

// funcs takes out all functions.
func (m *mailbox) funcs() (fs []func()) {
	if m.pending.Load() == 0 {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.box
	b.first = slices.DeleteFunc(b.first, func(x any) bool {
		f, ok := x.(func())
		if ok {
			fs = append(fs, f)
		}
		return ok
	})
	m.took(len(fs))
	return fs
}

// nextSystem takes out the oldest system message.
func (m *mailbox) nextSystem() (msg any, ok bool) {
	if m.pending.Load() == 0 {
		return nil, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.box
	i := slices.IndexFunc(b.first, func(x any) bool { _, ok := x.(func()); return !ok })
	switch {
	case i < 0:
		return nil, false
	case i == 0: // there may be many
		msg, b.first[0] = b.first[0], nil
		b.first = b.first[1:]
	default:
		msg = b.first[i]
		b.first = slices.Delete(b.first, i, i+1)
	}
	m.took(1)
	return msg, true
}

// took notes that n entries were taken out of first. mu is held.
func (m *mailbox) took(n int) {
	m.pending.Add(int32(-n))
	if b := m.box; len(b.first) == 0 {
		if b.first = nil; b.in == nil && b.out == nil {
			m.box = nil
		}
	}
}

// next takes out the oldest user message.
func (m *mailbox) next() (msg any, ok bool) {
	if m.users.Load() == 0 {
		return nil, false
	}
	b := m.box
	if b.head == len(b.out) {
		m.swap()
	}
	msg = b.out[b.head]
	b.out[b.head] = nil
	b.head++
	m.users.Add(-1)
	return msg, true
}

// swap takes over all that was posted. There is something.
func (m *mailbox) swap() {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.box
	b.in, b.out = b.out[:0], b.in
	b.head = 0
	m.grown = m.grown || cap(b.in) > keepSlots || cap(b.out) > keepSlots
}

// idle gives back what a burst made grow. It is called when a turn leaves no user message.
func (m *mailbox) idle() {
	if !m.grown {
		return
	}
	m.grown = false
	b := m.box
	if cap(b.out) > keepSlots {
		b.out, b.head = nil, 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(b.in) == 0 && cap(b.in) > keepSlots {
		b.in = nil
	}
}

// close makes the mailbox refuse what is posted from now on. What it holds can still be taken out.
func (m *mailbox) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = mailClosed
	if b := m.box; b != nil {
		was := len(b.first)
		b.first = slices.DeleteFunc(b.first, func(x any) bool { _, ok := x.(func()); return ok })
		m.took(was - len(b.first))
	}
}

// hasSystem reports whether functions or system messages wait, hasUser whether user messages do.
func (m *mailbox) hasSystem() bool { return m.pending.Load() > 0 }
func (m *mailbox) hasUser() bool   { return m.users.Load() > 0 }

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
	first *[]any // guarded by mu: functions and system messages; nil if there are none, as mostly
	box   *box   // changed with mu held; nil until there was a user message, for most connections never get one
}

// A box holds the user messages of a mailbox.
type box struct {
	in []any // guarded by mu

	out   []any // owner only: taken over from in
	head  int   // owner only: out is handled up to here
	grown bool  // owner only: in or out was large since the mailbox was last idle
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
		if m.box == nil {
			m.box = new(box)
		}
		m.box.in = append(m.box.in, msgs...)
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
	switch {
	case m.first == nil:
		m.first = &[]any{x}
	case first:
		*m.first = append([]any{x}, *m.first...)
	default:
		*m.first = append(*m.first, x)
	}
	m.pending.Add(1)
	return m.state
}

// funcs takes out all functions.
func (m *mailbox) funcs() (fs []func()) {
	if m.pending.Load() == 0 {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	*m.first = slices.DeleteFunc(*m.first, func(x any) bool {
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
	list := *m.first
	i := slices.IndexFunc(list, func(x any) bool { _, ok := x.(func()); return !ok })
	switch {
	case i < 0:
		return nil, false
	case i == 0: // there may be many
		msg, list[0] = list[0], nil
		*m.first = list[1:]
	default:
		msg = list[i]
		*m.first = slices.Delete(list, i, i+1)
	}
	m.took(1)
	return msg, true
}

// took notes that n entries were taken out of first. mu is held.
func (m *mailbox) took(n int) {
	m.pending.Add(int32(-n))
	if m.first != nil && len(*m.first) == 0 {
		m.first = nil
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
	b.grown = b.grown || cap(b.in) > keepSlots || cap(b.out) > keepSlots
}

// idle gives back what a burst made grow. It is called when a turn has taken user messages out, and leaves none.
func (m *mailbox) idle() {
	b := m.box
	if b == nil || !b.grown {
		return
	}
	b.grown = false
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
	if m.first == nil {
		return
	}
	was := len(*m.first)
	*m.first = slices.DeleteFunc(*m.first, func(x any) bool { _, ok := x.(func()); return ok })
	m.took(was - len(*m.first))
}

// hasSystem reports whether functions or system messages wait, hasUser whether user messages do.
func (m *mailbox) hasSystem() bool { return m.pending.Load() > 0 }
func (m *mailbox) hasUser() bool   { return m.users.Load() > 0 }

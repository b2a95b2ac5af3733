package actor

import (
	"sync"
	"sync/atomic"
)

// A mailbox holds what was posted to an actor of ours and not handled yet: functions, system messages, user messages,
// each in order. Any goroutine posts; only the turn takes out.
type mailbox struct {
	mu    sync.Mutex
	posts []func() // guarded by mu
	sys   []any    // guarded by mu
	in    []any    // guarded by mu: user messages
	state mailState

	grown   bool         // owner only: in or out was large since the mailbox was last idle
	head    int32        // owner only: out is handled up to here
	pending atomic.Int32 // of posts and sys, so that a turn need not take the lock to find none
	users   atomic.Int32 // user messages not handled yet
	out     []any        // owner only: user messages taken over from in
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
		m.in = append(m.in, msgs...)
		m.users.Add(int32(len(msgs))) // after the push, so that a count above zero means that one can be taken
	}
	return m.state
}

// postSystem adds a system message; if first, before all others.
func (m *mailbox) postSystem(msg any, first bool) mailState {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state == mailClosed {
		return m.state
	}
	if first {
		m.sys = append([]any{msg}, m.sys...)
	} else {
		m.sys = append(m.sys, msg)
	}
	m.pending.Add(1)
	return m.state
}

// postFunc adds a function that is to run between two turns.
func (m *mailbox) postFunc(f func()) mailState {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state != mailClosed {
		m.posts = append(m.posts, f)
		m.pending.Add(1)
	}
	return m.state
}

// funcs takes out all functions.
func (m *mailbox) funcs() []func() {
	if m.pending.Load() == 0 {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	fs := m.posts
	m.posts = nil
	m.pending.Add(int32(-len(fs)))
	return fs
}

// nextSystem takes out the oldest system message.
func (m *mailbox) nextSystem() (msg any, ok bool) {
	if m.pending.Load() == 0 {
		return nil, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.sys) == 0 {
		return nil, false
	}
	msg = m.sys[0]
	m.sys[0] = nil
	if m.sys = m.sys[1:]; len(m.sys) == 0 {
		m.sys = nil // system messages are rare; most connections never have one while they are open
	}
	m.pending.Add(-1)
	return msg, true
}

// next takes out the oldest user message.
func (m *mailbox) next() (msg any, ok bool) {
	if int(m.head) == len(m.out) {
		if m.users.Load() == 0 {
			return nil, false
		}
		m.swap()
	}
	msg = m.out[m.head]
	m.out[m.head] = nil
	m.head++
	m.users.Add(-1)
	return msg, true
}

// swap takes over all that was posted. There is something.
func (m *mailbox) swap() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.in, m.out = m.out[:0], m.in
	m.head = 0
	m.grown = m.grown || cap(m.in) > keepSlots || cap(m.out) > keepSlots
}

// idle gives back what a burst made grow. It is called when a turn leaves no user message.
func (m *mailbox) idle() {
	if !m.grown {
		return
	}
	m.grown = false
	if cap(m.out) > keepSlots {
		m.out, m.head = nil, 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.in) == 0 && cap(m.in) > keepSlots {
		m.in = nil
	}
}

// close makes the mailbox refuse what is posted from now on. What it holds can still be taken out.
func (m *mailbox) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = mailClosed
	m.pending.Add(int32(-len(m.posts)))
	m.posts = nil
}

// hasSystem reports whether functions or system messages wait, hasUser whether user messages do.
func (m *mailbox) hasSystem() bool { return m.pending.Load() > 0 }
func (m *mailbox) hasUser() bool   { return m.users.Load() > 0 }

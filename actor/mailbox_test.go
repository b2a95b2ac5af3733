package actor

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
)

func TestMailboxKeepsOrderAcrossSwaps(t *testing.T) {
	var m mailbox
	assert.Equal(t, mailEarly, m.post(0))
	m.open()
	want := 0
	for posted, step := 1, 1; posted < 1000; step = step%7 + 1 {
		for range step {
			assert.Equal(t, mailOpen, m.post(posted))
			posted++
		}
		for range step - 1 {
			msg, ok := m.next()
			require.True(t, ok)
			require.Equal(t, want, msg)
			want++
		}
	}
	for msg, ok := m.next(); ok; msg, ok = m.next() {
		require.Equal(t, want, msg)
		want++
	}
	assert.Greater(t, want, 999)
	assert.False(t, m.hasUser())
}

func TestMailboxCounts(t *testing.T) {
	var m mailbox
	m.open()
	for range 5 {
		m.post(nil)
	}
	_, ok := m.next()
	assert.True(t, ok, "a nil message is a message")
	assert.EqualValues(t, 4, m.users.Load())
	m.postSystem("b", false)
	m.postSystem("a", true)
	m.postFunc(func() {})
	assert.True(t, m.hasSystem())
	assert.Len(t, m.funcs(), 1)
	msg, _ := m.nextSystem()
	assert.Equal(t, "a", msg)
	msg, _ = m.nextSystem()
	assert.Equal(t, "b", msg)
	_, ok = m.nextSystem()
	assert.False(t, ok)
	assert.False(t, m.hasSystem())
}

func TestMailboxGivesBackWhatABurstMadeGrow(t *testing.T) {
	var m mailbox
	m.open()
	drain := func() {
		for _, ok := m.next(); ok; _, ok = m.next() {
		}
		m.idle()
	}
	for range 20 {
		m.post(1)
	}
	drain()
	m.post(1)
	drain()
	assert.Positive(t, cap(m.box.in)+cap(m.box.out), "a small queue is kept")
	for range 3 {
		for range 1000 {
			m.post(1)
		}
		m.next() // so that both are large
	}
	drain()
	assert.LessOrEqual(t, cap(m.box.in), keepSlots)
	assert.LessOrEqual(t, cap(m.box.out), keepSlots)
	m.post(1)
	msg, ok := m.next()
	assert.True(t, ok)
	assert.Equal(t, 1, msg)
}

func TestMailboxRefusesWhenClosed(t *testing.T) {
	var m mailbox
	m.open()
	m.post("kept")
	m.postSystem("kept, too", false)
	m.postFunc(func() {})
	m.close()
	m.open()
	assert.Equal(t, mailClosed, m.post("late"))
	assert.Equal(t, mailClosed, m.postSystem("late", false))
	assert.Equal(t, mailClosed, m.postFunc(func() {}))
	msg, _ := m.next()
	assert.Equal(t, "kept", msg)
	_, ok := m.next()
	assert.False(t, ok)
	msg, _ = m.nextSystem()
	assert.Equal(t, "kept, too", msg)
	assert.False(t, m.hasSystem())
}

func TestAcksSettleInOrder(t *testing.T) {
	// Every third send is the owner's, every fifth Write is waited for. They settle some sends later.
	pid := System.NewLocalPID("asker")
	var as acks
	settle := func(tok conn.SendToken) {
		a, ok := as.settle(tok)
		assert.Equal(t, tok%3 != 0, ok, "send %d", tok)
		if ok && tok%5 == 0 {
			assert.Equal(t, pid, a.sender)
			assert.Equal(t, int(tok), a.value)
		} else {
			assert.Nil(t, a.sender)
		}
	}
	for _, lag := range []conn.SendToken{1, 10, 100} {
		as = acks{}
		for tok := conn.SendToken(1); tok < 1000; tok++ {
			switch {
			case tok%3 == 0:
			case tok%5 == 0:
				as.add(tok, int(tok), pid)
			default:
				as.add(tok, nil, nil)
			}
			if tok > lag {
				settle(tok - lag)
			}
		}
		for tok := 1000 - lag; tok < 1000; tok++ {
			settle(tok)
		}
		assert.True(t, as.empty())
		assert.LessOrEqual(t, cap(as.list), 4*int(lag)+8, "it grows with what is open, not with what was")
	}
}

func TestAcksOfNobodyAreOneRun(t *testing.T) {
	var as acks
	for tok := conn.SendToken(1); tok <= 10_000; tok++ {
		as.add(tok, nil, nil)
	}
	assert.Len(t, as.list, 1)
}

func TestAckPool(t *testing.T) {
	var p ackPool
	as := p.get()
	p.put(as)
	again := p.get()
	assert.Same(t, as, again)
	for tok := conn.SendToken(1); tok < 1000; tok += 2 {
		again.add(tok, nil, nil)
	}
	for tok := conn.SendToken(1); tok < 1000; tok += 2 {
		again.settle(tok)
	}
	p.put(again)
	assert.NotSame(t, again, p.get(), "a large list is let go")
}

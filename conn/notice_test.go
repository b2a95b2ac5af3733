package conn

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A noticeTwin is the FIFO with one entry for each callback.
type noticeTwin struct {
	list []notice
	turn int // so many of them belong to this turn
}

func (q *noticeTwin) push(n notice) { q.list = append(q.list, n) }

func (q *noticeTwin) pop() (n notice, ok bool) {
	if q.turn == 0 {
		return notice{}, false
	}
	n = q.list[0]
	q.list = q.list[1:]
	q.turn--
	return n, true
}

func (q *noticeTwin) cancel(t uint64) bool {
	for i := range q.list {
		if q.list[i].kind == noticeTimer && q.list[i].token == t {
			q.list[i].token = 0
			return true
		}
	}
	return false
}

func TestNoticeQueueAgainstItsTwin(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 4))
		var m Memory
		mem := &m
		if seed%5 == 4 {
			mem = nil
		}
		var q noticeQueue
		var twin noticeTwin
		var sent SendToken
		var timer uint64
		for range 300 {
			switch r.IntN(9) {
			case 0:
				n := notice{kind: noticeEvent, value: r.IntN(1000)}
				q.push(mem, n)
				twin.push(n)
			case 1:
				timer++
				n := notice{kind: noticeTimer, token: timer}
				q.push(mem, n)
				twin.push(n)
			case 2, 3:
				kind, first, last := noticeSent, sent+1, sent+SendToken(r.IntN(5))
				if r.IntN(3) == 0 {
					kind = noticeSendFailed
				}
				q.pushOutcomes(mem, kind, first, last)
				for sent = first; sent <= last; sent++ {
					twin.push(notice{kind: kind, token: uint64(sent)})
				}
				sent = last
			case 4:
				q.startTurn()
				twin.turn = len(twin.list)
			case 5:
				token := uint64(r.IntN(int(timer) + 2))
				if token > 0 {
					require.Equal(t, twin.cancel(token), q.cancelTimer(TimerToken(token)), "seed %d: cancel %d", seed, token)
				}
			default:
				want, wantOK := twin.pop()
				got, ok := q.pop(mem)
				require.Equal(t, wantOK, ok, "seed %d", seed)
				require.Equal(t, want, got, "seed %d", seed)
			}
			require.Equal(t, len(twin.list) > 0, q.len() > 0, "seed %d", seed)
			require.Equal(t, q.len() > 0, q.ring != nil, "a ring is borrowed while there is something")
			require.LessOrEqual(t, q.len(), len(twin.list))
			require.Equal(t, q.ring != nil && mem != nil, m.InUse() > 0)
		}
	}
}

func TestOutcomesInARowTakeOneEntry(t *testing.T) {
	var q noticeQueue
	q.pushOutcomes(nil, noticeSent, 1, 3)
	q.pushOutcomes(nil, noticeSent, 4, 4)
	assert.Equal(t, 1, q.len())
	q.pushOutcomes(nil, noticeSendFailed, 5, 6)
	assert.Equal(t, 2, q.len(), "another outcome is another entry")
	q.push(nil, notice{kind: noticeIdle})
	q.pushOutcomes(nil, noticeSendFailed, 7, 7)
	assert.Equal(t, 4, q.len(), "nothing is told before what was caused earlier")
	q.startTurn()
	for want := uint64(1); want <= 6; want++ {
		n, ok := q.pop(nil)
		require.True(t, ok)
		assert.Equal(t, want, n.token)
		assert.Zero(t, n.more, "what is popped stands for itself")
	}
}

// What belongs to this turn must not grow: a send that is settled in this turn is told in a later one.
func TestOutcomesDoNotJoinAnEntryOfThisTurn(t *testing.T) {
	var q noticeQueue
	q.pushOutcomes(nil, noticeSent, 1, 2)
	q.startTurn()
	q.pushOutcomes(nil, noticeSent, 3, 4)
	assert.Equal(t, 2, q.len())
	for range 2 {
		_, ok := q.pop(nil)
		require.True(t, ok)
	}
	_, ok := q.pop(nil)
	assert.False(t, ok, "3 waits for the next turn")
	q.startTurn()
	n, ok := q.pop(nil)
	assert.True(t, ok)
	assert.Equal(t, uint64(3), n.token)
}

func TestOutcomesOfMoreSendsThanAnEntryCounts(t *testing.T) {
	var q noticeQueue
	const last = 3 * math.MaxUint32
	q.pushOutcomes(nil, noticeSendFailed, 1, last)
	assert.Equal(t, 3, q.len())
	total := uint64(0)
	next := uint64(1)
	for i := range q.len() {
		e := q.ring.at(i)
		assert.Equal(t, next, e.token, "entry %d begins where the one before it ends", i)
		next += uint64(e.more) + 1
		total += uint64(e.more) + 1
	}
	assert.Equal(t, uint64(last), total)

	q = noticeQueue{}
	q.pushOutcomes(nil, noticeSent, 1, math.MaxUint32)
	q.pushOutcomes(nil, noticeSent, math.MaxUint32+1, math.MaxUint32+1)
	q.pushOutcomes(nil, noticeSent, math.MaxUint32+2, math.MaxUint32+2)
	assert.Equal(t, 2, q.len(), "the first is full, the second grows")
}

func TestNoOutcomesNoEntry(t *testing.T) {
	var q noticeQueue
	q.pushOutcomes(nil, noticeSent, 5, 4)
	assert.Zero(t, q.len())
	assert.Nil(t, q.ring)
}

func TestCancelTimerTakesOneNoticeOut(t *testing.T) {
	var q noticeQueue
	for _, token := range []uint64{1, 2, 3} {
		q.push(nil, notice{kind: noticeTimer, token: token})
	}
	q.push(nil, notice{kind: noticeSent, token: 2})
	assert.True(t, q.cancelTimer(2))
	assert.False(t, q.cancelTimer(2), "once")
	assert.False(t, q.cancelTimer(9), "not one that never was")
	q.startTurn()
	var tokens []uint64
	for n, ok := q.pop(nil); ok; n, ok = q.pop(nil) {
		tokens = append(tokens, n.token)
	}
	assert.Equal(t, []uint64{1, 0, 3, 2}, tokens, "a timer without a token is not told; a send is no timer")
}

func TestNoticeSaysWhatItIs(t *testing.T) {
	for want, n := range map[string]notice{
		"OnConnected":              {kind: noticeConnected},
		"OnConnectFailed gone":     {kind: noticeConnectFailed, value: errors.New("gone")},
		"OnEOF":                    {kind: noticeEOF},
		"OnEOF cut":                {kind: noticeEOF, value: errors.New("cut")},
		"OnThrottled":              {kind: noticeThrottled},
		"OnUnthrottled":            {kind: noticeUnthrottled},
		"OnSent 7":                 {kind: noticeSent, token: 7, more: 3},
		"OnSendFailed 8":           {kind: noticeSendFailed, token: 8},
		"OnTimer 9":                {kind: noticeTimer, token: 9},
		"OnIdle":                   {kind: noticeIdle},
		"OnEvent conn.Connecting":  {kind: noticeEvent, value: Connecting{2}},
		"OnEvent":                  {kind: noticeUpgraded, value: Upgraded{}},
		"OnClosed":                 {kind: noticeClosed},
		"OnClosed connection lost": {kind: noticeClosed, value: errors.New("connection lost")},
	} {
		assert.Equal(t, want, Notice{n}.String())
	}
	for kind := noticeConnected; kind <= noticePosted; kind++ {
		assert.NotEmpty(t, noticeNames[kind], "kind %d has a name", kind)
	}
}

func TestNoticeOutcome(t *testing.T) {
	for kind := noticeConnected; kind <= noticeClosed; kind++ {
		token, sent, ok := Notice{notice{kind: kind, token: 5}}.Outcome()
		want := fmt.Sprint(0, false, false)
		switch kind {
		case noticeSent:
			want = fmt.Sprint(5, true, true)
		case noticeSendFailed:
			want = fmt.Sprint(5, false, true)
		}
		assert.Equal(t, want, fmt.Sprint(token, sent, ok), "kind %s", noticeNames[kind])
	}
}

func TestANoticeThatNobodyDeliversIsABug(t *testing.T) {
	var c Conn
	assert.PanicsWithValue(t, "BUG: conn: unhandled notice posted function", func() { c.deliver(notice{kind: noticePosted}) })
}

// Nothing comes after the last callback, whatever a late input causes.
func TestNothingIsQueuedBehindTheLastCallback(t *testing.T) {
	var c Conn
	c.notifyEnd(noticeClosed, nil)
	c.notify(noticeIdle, 0, nil)
	c.notifyEnd(noticeClosed, errors.New("again"))
	require.Equal(t, 1, c.notices.len())
	assert.Equal(t, noticeClosed, c.notices.ring.at(0).kind)
	assert.Nil(t, c.notices.ring.at(0).value)
}

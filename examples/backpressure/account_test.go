package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
)

// A broken promise is seen: each case breaks one, and the verdicts name that one alone.
func TestVerdictsSeeABrokenPromise(t *testing.T) {
	send := func(a *account, n int) {
		for range n {
			a.take(conn.SendToken(a.accepted+1), 10)
		}
	}
	settle := func(a *account, tokens ...conn.SendToken) {
		for _, token := range tokens {
			a.settle(token, true)
		}
	}
	for _, test := range []struct {
		name   string
		happen func(a *account, c *consumer)
		failed string // the beginning of the promise; empty if all are kept
		says   string
	}{
		{"all is well", func(a *account, c *consumer) {
			send(a, 2)
			settle(a, 1, 2)
			a.throttle(true, false)
			a.throttle(false, true)
			a.throttle(true, false)
			c.records = 2
		}, "", ""},
		{"too much is pending", func(a *account, c *consumer) { a.take(1, 101); settle(a, 1); c.records = 1 },
			"pending bytes", "101 bytes"},
		{"throttled twice", func(a *account, _ *consumer) { a.throttle(true, false); a.throttle(true, false) },
			"OnThrottled", "twice in a row"},
		{"unthrottled first", func(a *account, _ *consumer) { a.throttle(false, true) }, "OnThrottled", "twice in a row"},
		{"writeable though throttled", func(a *account, _ *consumer) { a.throttle(true, true) },
			"OnThrottled", "writeable was true"},
		{"unthrottled, not writeable", func(a *account, _ *consumer) { a.throttle(true, false); a.throttle(false, false) },
			"OnThrottled", "writeable was false"},
		{"a token is skipped", func(a *account, c *consumer) { a.take(2, 1); settle(a, 1); c.records = 1 },
			"every token", "given token 2"},
		{"never settled", func(a *account, c *consumer) { send(a, 2); settle(a, 1); c.records = 1 },
			"every token", "of 2 sends 1"},
		{"settled twice", func(a *account, c *consumer) { send(a, 2); settle(a, 1, 1); c.records = 2 },
			"every token", "Send 1 came in the place of 2"},
		{"settled and not sent", func(a *account, c *consumer) { send(a, 1); settle(a, 1, 2); c.records = 2 },
			"every token", "Send 2 came in the place of 2"},
		{"sent after a failure", func(a *account, c *consumer) {
			send(a, 2)
			a.settle(1, false)
			a.settle(2, true)
			c.records = 1
		}, "every token", "after another one had failed"},
		{"a record is lost", func(a *account, c *consumer) { send(a, 2); settle(a, 1, 2); c.records = 1 },
			"all bytes", "1 arrived"},
		{"the consumer failed", func(_ *account, c *consumer) { c.err = io.ErrUnexpectedEOF }, "all bytes", "unexpected EOF"},
		{"the producer failed", func(a *account, _ *consumer) { a.closed = errors.New("reset") }, "all bytes", "reset"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, c := &account{bound: 100}, new(consumer)
			test.happen(a, c)
			a.end(a.closed)
			var out bytes.Buffer
			kept := newTable(&out, script{}, 1, 1).verdicts(a, c)
			assert.Equal(t, test.failed == "", kept)
			for _, line := range strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n") {
				if test.failed != "" && strings.Contains(line, "  "+test.failed) {
					assert.Regexp(t, "^FAILED ", line)
					assert.Contains(t, line, test.says)
				} else {
					assert.Regexp(t, "^ok ", line)
				}
			}
		})
	}
}

func records(numbers ...uint64) (p []byte) {
	for _, n := range numbers {
		p = append(binary.BigEndian.AppendUint64(p, n), bodyOf(n)...)
	}
	return p
}

func TestTheConsumerChecksEveryByte(t *testing.T) {
	whole := records(1, 2, 3)
	for _, size := range []int{1, 7, 8, recordSize - 1, recordSize, recordSize + 1, len(whole)} {
		c := new(consumer)
		for at := 0; at < len(whole); at += size {
			assert.NoError(t, c.check(whole[at:min(at+size, len(whole))]))
		}
		assert.EqualValues(t, 3, c.records)
		assert.Empty(t, c.partial)
	}
	assert.EqualError(t, new(consumer).check(records(1, 3)), "record 3 came in the place of 2")
	assert.EqualError(t, new(consumer).check(records(1, 1)), "record 1 came in the place of 2")
	whole[len(whole)-1]++
	assert.EqualError(t, new(consumer).check(whole), "record 3 is not what was sent")
}

// The producer, without a socket: it fills to the bound, waits, and goes on at low water.
func TestTheProducerFillsToTheBound(t *testing.T) {
	p := newProducer(time.Second, 4*recordSize)
	cfg := conn.Config{HighWater: 4 * recordSize, LowWater: recordSize, MaxPending: recordSize}
	r := conntest.New(p, cfg, conntest.Dialed(), conntest.Checked(t))
	r.Allow(0) // nobody reads
	r.Connected()
	assert.EqualValues(t, 5, p.accepted)
	assert.EqualValues(t, 1, p.cycles)
	r.Advance(time.Second)
	s := <-p.samples
	assert.Equal(t, 5*recordSize, s.pending)
	assert.Zero(t, s.settled)
	assert.Zero(t, s.outcomes)
	assert.Positive(t, s.oldest)
	r.Allow(5*recordSize - recordSize - 1)
	assert.EqualValues(t, 5, p.accepted, "one byte above low water it still waits")
	assert.EqualValues(t, 3, p.sent)
	r.Allow(1)
	assert.EqualValues(t, 9, p.accepted)
	assert.EqualValues(t, 2, p.cycles)
	r.Do(func(c *conn.Conn) { c.Abort(nil) })
	assert.EqualValues(t, 4, p.sent)
	assert.EqualValues(t, 5, p.failed)
	assert.Zero(t, p.inFlight.len())
	assert.NoError(t, errors.Join(p.overfull, p.disorder, p.unsettled))
	<-p.done
	got := new(consumer)
	assert.NoError(t, got.check([]byte(r.Wire())))
	assert.EqualValues(t, 4, got.records)
}

var _ actor.Actor = (*producer)(nil)

func TestScriptSaysWhatIsOn(t *testing.T) {
	s := script{begin: time.Unix(100, 0), phase: 2 * time.Second}
	for at, want := range map[time.Duration]struct {
		pace pace
		left time.Duration
	}{
		-time.Millisecond:       {fast, 2*time.Second + time.Millisecond},
		0:                       {fast, 2 * time.Second},
		1999 * time.Millisecond: {fast, time.Millisecond},
		2 * time.Second:         {slow, 2 * time.Second},
		4500 * time.Millisecond: {none, 1500 * time.Millisecond},
		6 * time.Second:         {fast, 2 * time.Second},
		8 * time.Second:         {over, 0},
		time.Hour:               {over, 0},
	} {
		p, left := s.at(s.begin.Add(at))
		assert.Equal(t, want.pace, p, at)
		assert.Equal(t, want.left, left, at)
	}
	assert.Equal(t, 8*time.Second, s.length())
}

func TestBar(t *testing.T) {
	for _, test := range []struct {
		pending, high, low int
		want               string
	}{
		{0, 100, 50, "[..........:.........] "},
		{4, 100, 50, "[..........:.........] "},
		{5, 100, 50, "[#.........:.........] "},
		{52, 100, 50, "[##########:.........] "},
		{55, 100, 50, "[###########.........] "},
		{99, 100, 50, "[###################.] "},
		{100, 100, 100, "[####################] "},
		{101, 100, 50, "[####################]+"},
		{0, 1, 0, "[:...................] "},
		{2, 1, 1, "[####################]+"},
	} {
		assert.Equal(t, test.want, bar(test.pending, test.high, test.low), "%d of %d", test.pending, test.high)
	}
}

func TestQueueForgetsWhatIsGone(t *testing.T) {
	var q queue
	at := func(i int) time.Time { return time.Unix(int64(i), 0) }
	for i := range 10 {
		q.push(at(i))
	}
	for i := 10; i < 10_000; i++ { // never empty
		assert.Equal(t, at(i-10), q.pop())
		q.push(at(i))
		assert.Equal(t, 10, q.len())
	}
	assert.Less(t, cap(q.times), 100)
	for q.len() > 0 {
		q.pop()
	}
	assert.Empty(t, q.times)
}

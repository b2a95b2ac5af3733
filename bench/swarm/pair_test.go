package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor"
)

// fine is a connection whose ends agree: each sent 100 bytes in 3 sends, and 2 Writes with Ack of 3, and 1 without.
func fine() [2]*ending {
	one := func() *ending {
		e := &ending{
			who: "galago", framing: raw, own: 100, sends: 3, hasStats: true,
			stats: conn.Stats{BytesRead: 200, BytesWritten: 200, Accepted: 6, Sent: 6},
			acks:  ackCount{asked: 3, written: 2, refused: 1, sum: 42},
		}
		e.received = receiver{
			stream: stream{max: 10}, own: 100, count: [sources]uint64{3, 2, 1}, sums: [sources]uint64{0, 42, 0},
		}
		return e
	}
	return [2]*ending{one(), one()}
}

func TestJudgeAcceptsWhatAgrees(t *testing.T) {
	assert.Empty(t, judge(fine(), false))
	because := func(cause conn.Cause, err error) error { return &conn.CloseError{Cause: cause, Err: err} }
	for name, change := range map[string]func(e *[2]*ending){
		"abort": func(e *[2]*ending) {
			e[0].err, e[0].may, e[1].err = because(conn.CauseAbort, nil), mayAbort, because(conn.CauseRead, nil)
		},
		"panic": func(e *[2]*ending) {
			e[0].err, e[0].may, e[1].err = because(conn.CauseHandler, nil), mayHandler, because(conn.CauseWrite, nil)
		},
		"layer": func(e *[2]*ending) {
			e[0].err, e[0].may = because(conn.CauseLayer, new(interceptor.FaultError)), mayLayer
		},
		"in flight": func(e *[2]*ending) {
			e[0].err, e[0].may, e[0].portable, e[1].stats.BytesRead = because(conn.CauseAbort, nil), mayAbort, true, 201
		},
		"hasty":   func(e *[2]*ending) { e[0].err, e[0].may = because(conn.CauseTimeout, nil), mayTimeout },
		"dropped": func(e *[2]*ending) { e[1].dropped, e[1].received.own = true, 50 },
		"broken off": func(e *[2]*ending) {
			e[0].err, e[0].may, e[1].received.own = because(conn.CauseAbort, nil), mayAbort, 50
		},
		"inside frame": func(e *[2]*ending) {
			e[0].partial, e[0].own, e[1].framing, e[1].err = true, 105, prefixed, because(conn.CauseTruncated, nil)
		},
		"nobody came": func(e *[2]*ending) {
			e[0].err, e[0].may, e[1] = because(conn.CauseAbort, nil), mayAbort, nil
		},
		"refused": func(e *[2]*ending) {
			e[0].failed, e[0].err, e[0].may, e[1] = true, &conn.ConnectError{Stage: conn.StageClosed}, mayEarly, nil
		},
		"a witness": func(e *[2]*ending) {
			e[1].who, e[1].hasStats, e[1].acks = "witness", false, ackCount{}
			e[0].received.count[1] = 0
			e[0].received.sums[1] = 0
		},
	} {
		ends := fine()
		change(&ends)
		assert.Empty(t, judge(ends, false), name)
	}
	ends := fine()
	ends[1] = nil
	assert.Empty(t, judge(ends, true), "a layer ended it")
}

// Each of these is one thing that must not be, and exactly that must be found.
func TestJudgeFindsEveryDisagreement(t *testing.T) {
	because := func(cause conn.Cause) error { return &conn.CloseError{Cause: cause} }
	never := func(stage conn.Stage) error { return &conn.ConnectError{Stage: stage} }
	for name, test := range map[string]struct {
		change func(a, b *ending)
		says   string
	}{
		"bytes are lost": {
			func(_, b *ending) { b.received.own = 99 },
			"99 bytes of sends arrived, 100 were accepted",
		},
		"bytes are made": {
			func(_, b *ending) { b.received.own = 101 },
			"101 bytes of sends arrived, 100 were accepted",
		},
		"made in a broken one": {
			func(a, b *ending) { a.err, a.may, b.received.own = because(conn.CauseAbort), mayAbort, 101 },
			"101 bytes",
		},
		"a Write is lost": {
			func(_, b *ending) { b.received.count[fromAcked] = 1 },
			"1 Writes with Ack arrived",
		},
		"another Write came": {func(_, b *ending) { b.received.sums[fromAcked] = 43 }, "not the same"},
		"Writes are made": {
			func(_, b *ending) { b.received.count[fromAcked] = 4 },
			"4 Writes with Ack arrived, 3 were made",
		},
		"a quiet one is lost": {
			func(_, b *ending) { b.received.count[fromQuiet] = 0 },
			"0 Writes without Ack arrived",
		},
		"no answer": {
			func(a, _ *ending) { a.acks.refused = 0 },
			"3 Writes with Ack, but 2 written, 0 failed",
		},
		"wire bytes are lost": {func(_, b *ending) { b.stats.BytesRead = 199 }, "199 bytes were read, 200 written"},
		"made, on a port": {
			func(a, b *ending) { a.portable = true; b.stats.BytesRead = 201 },
			"201 bytes were read, 200 written",
		},
		"wire bytes are made":  {func(_, b *ending) { b.stats.BytesRead = 201 }, "201 bytes were read, 200 written"},
		"a reset from nowhere": {func(a, _ *ending) { a.err = because(conn.CauseRead) }, "no reason"},
		"a failed write":       {func(a, _ *ending) { a.err = because(conn.CauseWrite) }, "no reason"},
		"nobody aborted":       {func(a, _ *ending) { a.err = because(conn.CauseAbort) }, "no reason"},
		"nobody panicked":      {func(a, _ *ending) { a.err = because(conn.CauseHandler) }, "no reason"},
		"no layer breaks":      {func(a, _ *ending) { a.err = because(conn.CauseLayer) }, "no reason"},
		"nothing was late":     {func(a, _ *ending) { a.err = because(conn.CauseTimeout) }, "no reason"},
		"frames are whole":     {func(a, _ *ending) { a.err = because(conn.CauseTruncated) }, "no reason"},
		"frames are sound": {
			func(a, _ *ending) { a.err, a.may = because(conn.CauseFrame), 1<<16-1 },
			"no reason",
		},
		"bytes below a layer": {
			func(a, _ *ending) {
				a.err, a.may = &conn.CloseError{Cause: conn.CauseLayer, Err: errTwist}, mayLayer
			},
			"below a layer",
		},
		"an odd end": {func(a, _ *ending) { a.err = errors.New("odd") }, "ended with odd"},
		"the witness was reset": {
			func(a, _ *ending) { a.who, a.err = "witness", errors.New("reset") },
			"ended with reset",
		},
		"a failed dial": {
			func(a, _ *ending) { a.failed, a.err = true, never(conn.StageDial) },
			"never connected",
		},
		"a failed handshake": {
			func(a, _ *ending) { a.failed, a.err = true, never(conn.StageHandshake) },
			"never connected",
		},
		"a start that was late": {
			func(a, _ *ending) { a.failed, a.err = true, never(conn.StageTimeout) },
			"never connected",
		},
		"nobody closed early": {
			func(a, _ *ending) { a.failed, a.err = true, never(conn.StageClosed) },
			"never connected",
		},
		"frame broken silently": {
			func(a, b *ending) { a.partial, a.own, b.framing = true, 105, prefixed },
			"told nothing",
		},
		"more than a frame": {func(a, b *ending) {
			a.partial, a.own, b.framing, b.err = true, 150, prefixed, because(conn.CauseTruncated)
		}, "with a part of a frame"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, way := range []int{0, 1} { // either end may be to blame
				ends := fine()
				test.change(ends[way], ends[1-way])
				assert.Contains(t, strings.Join(judge(ends, false), "\n"), test.says)
			}
		})
	}
	ends := fine()
	ends[1] = nil
	assert.Contains(t, strings.Join(judge(ends, false), "\n"), "nobody accepted it")
}

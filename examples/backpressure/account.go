package main

import (
	"fmt"

	"github.com/galago-go/galago/conn"
)

// An account is what the producer saw, and the first thing that broke each promise.
type account struct {
	bound int // bytes that may be pending: HighWater + MaxPending

	accepted     uint64 // sends
	sent, failed uint64 // their outcomes
	peak         int    // the most that was pending
	cycles       uint64 // times that OnThrottled came
	throttling   bool   // OnThrottled came last

	overfull, disorder, unsettled error // what broke a promise: pending, throttling, outcomes
	closed                        error // what OnClosed said
}

// note keeps the first failure.
func note(failure *error, format string, args ...any) {
	if *failure == nil {
		*failure = fmt.Errorf(format, args...)
	}
}

// take notes an accepted Send, and how much is pending then.
func (a *account) take(t conn.SendToken, pending int) {
	a.accepted++
	if uint64(t) != a.accepted {
		note(&a.unsettled, "Send %d was given token %d", a.accepted, t)
	}
	a.peak = max(a.peak, pending)
	if pending > a.bound {
		note(&a.overfull, "%d bytes were pending after Send %d", pending, t)
	}
}

// settle notes an outcome. Outcomes come in the order of the sends; so the next one is the only one that may come.
func (a *account) settle(t conn.SendToken, sent bool) {
	if next := a.sent + a.failed + 1; uint64(t) != next || next > a.accepted {
		note(&a.unsettled, "the outcome of Send %d came in the place of %d", t, next)
	}
	if sent && a.failed > 0 {
		note(&a.unsettled, "Send %d was sent after another one had failed", t)
	}
	if sent {
		a.sent++
	} else {
		a.failed++
	}
}

// throttle notes OnThrottled (on) and OnUnthrottled (not on), and whether Send is accepted then.
func (a *account) throttle(on, writeable bool) {
	switch {
	case on == a.throttling:
		note(&a.disorder, "OnThrottled, or OnUnthrottled, came twice in a row, in cycle %d", a.cycles)
	case on == writeable:
		note(&a.disorder, "in cycle %d, writeable was %t while OnThrottled was %t", a.cycles, writeable, on)
	}
	a.throttling = on
	if on {
		a.cycles++
	}
}

// end notes what OnClosed said. Afterwards there are no outcomes.
func (a *account) end(err error) {
	a.closed = err
	if n := a.sent + a.failed; n != a.accepted {
		note(&a.unsettled, "of %d sends %d were settled", a.accepted, n)
	}
}

// arrived says what is wrong if the consumer, which read so many records and then the end or err, did not get all that
// was sent.
func (a *account) arrived(records uint64, err error) error {
	switch {
	case err != nil:
		return err
	case a.closed != nil:
		return a.closed
	case records != a.sent:
		return fmt.Errorf("%d records were sent, and %d arrived", a.sent, records)
	}
	return nil
}

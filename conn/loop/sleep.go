package loop

import "time"

// A sleepWatch finds out that the machine has slept. Go's monotonic clock, by which turns and deadlines go, stands still
// meanwhile; the time since boot goes on.
type sleepWatch struct {
	boot   func() (time.Duration, bool) // sleep included; false if the system does not tell
	looked time.Duration                // on the monotonic clock: when boot was asked last
	was    time.Duration                // what it answered
	ahead  time.Duration                // of the wall clock to looked
}

const (
	// A look costs a system call. The wall clock, which comes for nothing with the other one, tells at once that there is
	// reason for one: it moves on after a sleep, but also when somebody sets it.
	sleepLooks = time.Second
	wallMoved  = sleepLooks / 2

	// leastSleep is what counts. Less may be the time between asking two clocks.
	leastSleep = time.Second
)

// init begins the watch, at 0 on the monotonic clock.
func (w *sleepWatch) init(boot func() (time.Duration, bool), wall time.Duration) {
	if boot == nil {
		boot = bootTime
	}
	w.boot, w.ahead = boot, wall
	w.was, _ = boot()
}

// look returns for how long the machine has slept since the last look; 0 if it did not, or if it is not known. now and
// wall are what the two clocks say.
func (w *sleepWatch) look(now, wall time.Duration) (slept time.Duration) {
	ahead := wall - now
	if moved := ahead - w.ahead; now-w.looked < sleepLooks && moved < wallMoved && moved > -wallMoved {
		return 0
	}
	is, ok := w.boot()
	if gap := (is - w.was) - (now - w.looked); ok && gap > leastSleep {
		slept = gap
	}
	w.looked, w.was, w.ahead = now, is, ahead
	return slept
}

package pressure

import "time"

// Tick calls f for each tick, one after the other, until stop is closed. Tick number n, from 1, is due n times every
// after the first call, whether f was done in time with those before it or not: what is late is not left out.
func Tick(every time.Duration, stop <-chan struct{}, f func(n uint64, due int64)) {
	begin := Now()
	timer := time.NewTimer(every)
	defer timer.Stop()
	for n := uint64(1); ; n++ {
		due := begin + int64(n)*int64(every)
		if wait := due - Now(); wait > 0 {
			timer.Reset(time.Duration(wait))
			select {
			case <-timer.C:
			case <-stop:
				return
			}
		}
		select {
		case <-stop:
			return
		default:
			f(n, due)
		}
	}
}

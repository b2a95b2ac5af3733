package conntest

import "time"

// Await is for layers that have goroutines at work. It takes the turns that become due while those post, until done
// reports true, which it asks first and after each turn; or until limit has passed, of real time, and returns false. It
// takes turns on a Manual Rig, too. The time of the Rig stands still.
func (r *Rig) Await(limit time.Duration, done func() bool) bool {
	late := time.NewTimer(limit)
	defer late.Stop()
	for {
		r.Settle()
		if done() {
			return true
		}
		if r.due() {
			continue // done did something
		}
		select {
		case <-r.b.bell:
		case <-late.C:
			r.Settle()
			return done()
		}
	}
}

// Ring has Await ask again whether it is done. Any goroutine may call it, such as one that plays the peer.
func (r *Rig) Ring() { r.b.ring() }

func (s *socket) ring() {
	select {
	case s.bell <- struct{}{}:
	default:
	}
}

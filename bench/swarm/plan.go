package main

import (
	"math/rand/v2"
	"time"
)

// A plan is the script of one end of a connection. It follows from the seed, the connection's number and the side; so
// what an end does is the same in each run, though not when.
type plan struct {
	chunks int           // to send
	burst  int           // chunks, then it thinks
	think  time.Duration // at most
	group  int           // chunks in one Send, at most
	pieces int           // Sends that one group is cut into, at most
	empty  bool          // some Sends have no bytes
	onSent bool          // OnSent goes on, instead of a timer
	over   bool          // some Sends are larger than they may be

	writes, quiet int // batches of Writes of another actor, with and without Ack

	ends  ending1 // what it does when it has sent all
	obeys bool    // it closes as soon as the peer has ended, whatever it had still to send
	lag   time.Duration

	trouble   trouble       // what else happens to it
	troubleAt time.Duration // after it was connected

	panics, pause, yield float64 // per callback
	rest                 time.Duration
	outside              bool // pauses and closes are told from outside
	goexit               bool
	idle                 time.Duration
	keep                 bool // OnIdle does not close
	timers               bool // it starts timers and stops them again
	readSize             int  // of a witness, at most
}

// ending1 is the orderly end that an end of a connection chooses.
type ending1 byte

const (
	closes ending1 = iota
	halfCloses
	waits // for the peer's end
)

// trouble is an end out of order, or too soon.
type trouble byte

const (
	noTrouble trouble = iota
	aborts
	isStopped
	closesEarly
	cutsChunk
	returnsError
)

// rng is the randomness of one end. what tells different uses apart.
func (s *settings) rng(id uint64, what uint64) *rand.Rand {
	return rand.New(rand.NewPCG(mixAll(s.seed, id), mixAll(s.seed, what)))
}

func happens(r *rand.Rand, p float64) bool { return r.Float64() < p }

// upTo draws a duration, mostly a short one.
func upTo(r *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(float64(d) * r.Float64() * r.Float64())
}

func drawPlan(s *settings, r *rand.Rand, dialer bool) plan {
	p := plan{
		chunks: r.IntN(s.sends + 1),
		burst:  1 + r.IntN(4),
		think:  s.think,
		group:  1 + r.IntN(3),
		pieces: 1,
		empty:  happens(r, 0.1),
		onSent: happens(r, 0.2),
		over:   happens(r, s.oversize),
		obeys:  happens(r, 0.2),
		lag:    upTo(r, s.think),
		timers: happens(r, 0.2),

		troubleAt: upTo(r, 12*s.think),
		outside:   happens(r, 0.5),
		goexit:    happens(r, 0.1),
		rest:      s.think,
		readSize:  1 << (4 + r.IntN(12)),
	}
	if happens(r, 0.2) {
		p.pieces = 2 + r.IntN(40)
	}
	if happens(r, s.write) {
		p.writes, p.quiet = 1+r.IntN(3), r.IntN(2)
	}
	if happens(r, s.half) {
		p.ends = halfCloses
	} else if !dialer && happens(r, 0.4) { // not both: each would wait for the other
		p.ends = waits
	}
	p.drawNuisances(s, r)
	p.drawTrouble(s, r)
	return p
}

func (p *plan) drawNuisances(s *settings, r *rand.Rand) {
	if happens(r, s.panics) {
		p.panics = 0.02 + 0.2*r.Float64()*r.Float64()
	}
	if happens(r, s.pause) {
		p.pause = 0.2
	}
	if happens(r, s.slow) {
		p.pause, p.rest = 0.8, min(s.think, 20*time.Millisecond)
		p.readSize = min(p.readSize, 4<<10)
	}
	if happens(r, s.yield) {
		p.yield = 0.3
	}
	if happens(r, s.idle) {
		p.idle = 5*time.Millisecond + upTo(r, s.think)
		p.keep = happens(r, 0.8)
	}
}

func (p *plan) drawTrouble(s *settings, r *rand.Rand) {
	at := r.Float64()
	for _, t := range []struct {
		share float64
		what  trouble
	}{
		{s.abort, aborts}, {s.stop, isStopped}, {s.closing, closesEarly}, {s.cut, cutsChunk}, {s.fail, returnsError},
	} {
		if at < t.share {
			p.trouble = t.what
			return
		}
		at -= t.share
	}
}

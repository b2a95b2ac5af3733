package main

import (
	"slices"

	"github.com/galago-go/galago/conn"
)

// The sending of a side: chunks in groups, each group in one Send or in pieces, until the plan is through or a Send is
// refused. A group that was refused half-way is finished before anything else, so that chunks stay whole.

// pump sends until it has to wait.
func (s *side) pump(c *conn.Conn) {
	if s.over || !s.begun || !s.flushTail(c) {
		return
	}
	for n := 0; s.left > 0; n++ {
		if n >= s.plan.burst {
			s.pumpLater(c)
			return
		}
		if !s.sendGroup(c) {
			return
		}
	}
	if !s.ready {
		s.ready = true
		if s.plan.lag > 0 && s.after(c, s.plan.lag, s.finish) != 0 {
			return
		}
		s.finish(c)
	}
}

// pumpLater lets a timer, or the next OnSent, go on.
func (s *side) pumpLater(c *conn.Conn) {
	if s.waiting {
		return
	}
	s.waiting = true
	s.after(c, upTo(s.rng, s.plan.think), func(c *conn.Conn) {
		s.waiting = false
		s.pump(c)
	})
}

// finish ends this direction, as the plan has it.
func (s *side) finish(c *conn.Conn) {
	switch {
	case s.over:
	case s.told.eof, s.plan.ends == closes:
		s.close(c)
	case s.plan.ends == halfCloses:
		s.told.halfDone, s.over = true, true
		s.w.rep.add(countHalves, 1)
		c.CloseWrite()
	}
}

// sendGroup sends the next chunks, and reports whether all were accepted.
func (s *side) sendGroup(c *conn.Conn) bool {
	if s.plan.empty && happens(s.rng, 0.3) && !s.send(c) {
		return false
	}
	if s.plan.over && happens(s.rng, 0.3) {
		s.sendTooMuch(c)
	}
	s.buf, s.bounds, s.sentTo = s.buf[:0], s.bounds[:0], 0
	for range 1 + s.rng.IntN(s.plan.group) {
		before := len(s.buf)
		s.buf = s.out.appendChunk(s.buf, s.framing, fromOwner, s.serial)
		if len(s.buf) > s.cfg.MaxPending { // it goes into the next group
			s.buf = s.buf[:before]
			break
		}
		s.bounds = append(s.bounds, len(s.buf))
		s.serial++
		if s.left--; s.left == 0 {
			break
		}
	}
	s.cutBuf()
	return s.flushTail(c)
}

// cutBuf makes the tail of what is in buf: pieces that are sent one by one.
func (s *side) cutBuf() {
	s.tail = s.tail[:0]
	rest := s.buf
	for range s.plan.pieces - 1 {
		if len(rest) < 2 {
			break
		}
		n := 1 + s.rng.IntN(min(len(rest)-1, 1+2*len(s.buf)/s.plan.pieces))
		s.tail = append(s.tail, rest[:n])
		rest = rest[n:]
	}
	s.tail = append(s.tail, rest)
}

// flushTail sends what is left of the group, and reports whether nothing is.
func (s *side) flushTail(c *conn.Conn) bool {
	for len(s.tail) > 0 {
		if !s.send(c, s.tail[0]) {
			return false
		}
		s.sentTo += len(s.tail[0])
		s.tail = s.tail[1:]
	}
	return true
}

// halfway reports whether a chunk was begun and not finished.
func (s *side) halfway() bool {
	return s.sentTo > 0 && !slices.Contains(s.bounds, s.sentTo)
}

// send is Send, with its checks. It reports whether it was accepted.
func (s *side) send(c *conn.Conn, bufs ...[]byte) bool {
	n := 0
	for _, b := range bufs {
		n += len(b)
	}
	writeable, state := c.IsWriteable(), c.State()
	if len(bufs) == 1 && n > headLen && happens(s.rng, 0.5) { // as two buffers
		bufs = [][]byte{bufs[0][:headLen], bufs[0][headLen:]}
	}
	token, err := c.Send(bufs...)
	if err != nil {
		s.told.refusedSend(err, n, writeable, state)
		s.w.rep.refused(err)
		if err == conn.ErrNotConnected {
			s.over = true
		}
		return false
	}
	s.w.rep.add(countSends, 1)
	s.told.acceptedSend(token, n, c.Stats().Pending)
	return true
}

// sendTooMuch tries a Send that can never be accepted.
func (s *side) sendTooMuch(c *conn.Conn) {
	s.send(c, make([]byte, s.cfg.MaxPending+1))
}

// cutChunk sends a part of a chunk, and closes.
func (s *side) cutChunk(c *conn.Conn) {
	if s.over || len(s.tail) > 0 {
		return
	}
	s.buf = s.out.appendChunk(s.buf[:0], s.framing, fromOwner, s.serial)
	s.serial++
	n := 1 + s.rng.IntN(len(s.buf)-1)
	if n <= s.cfg.MaxPending && s.send(c, s.buf[:n]) {
		s.partial = true
	}
	s.close(c)
}

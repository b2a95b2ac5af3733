package main

import (
	"fmt"
	"math"
	"time"
)

// stats are those of ping. Numbers of pings count from 1.
type stats struct {
	sent, received int
	began, ended   time.Time
	waiting        map[int]time.Time // when it was sent
	min, max       time.Duration
	sum, squares   float64 // in milliseconds
}

// send counts a ping that is sent now, and returns its number.
func (s *stats) send(now time.Time) int {
	if s.waiting == nil {
		s.waiting = make(map[int]time.Time)
		s.began = now
	}
	s.sent++
	s.waiting[s.sent] = now
	s.ended = now
	return s.sent
}

// receive counts the answer to ping n. It reports whether there was such a ping, without an answer.
func (s *stats) receive(n int, now time.Time) (rtt time.Duration, ok bool) {
	at, ok := s.waiting[n]
	if !ok {
		return 0, false
	}
	delete(s.waiting, n)
	rtt = now.Sub(at)
	s.ended = now
	if s.received++; s.received == 1 || rtt < s.min {
		s.min = rtt
	}
	s.max = max(s.max, rtt)
	ms := rtt.Seconds() * 1e3
	s.sum += ms
	s.squares += ms * ms
	return rtt, true
}

// open returns how many pings have no answer yet.
func (s *stats) open() int { return len(s.waiting) }

// String is two lines; one, if nothing was answered. mdev is what ping calls so: the standard deviation.
func (s *stats) String() string {
	loss := 0.0
	if s.sent > 0 {
		loss = 100 * float64(s.sent-s.received) / float64(s.sent)
	}
	text := fmt.Sprintf("%d pings sent, %d answered, %.4g%% loss, time %.3fs", s.sent, s.received, loss, s.ended.Sub(s.began).Seconds())
	if s.received == 0 {
		return text
	}
	mean := s.sum / float64(s.received)
	mdev := math.Sqrt(max(s.squares/float64(s.received)-mean*mean, 0))
	return fmt.Sprintf("%s\nrtt min/avg/max/mdev = %.3f/%.3f/%.3f/%.3f ms", text, s.min.Seconds()*1e3, mean, s.max.Seconds()*1e3, mdev)
}

// Package liveness watches whether the process at the other end of a connection is still there. An open TCP connection
// says nothing about that: the peer's system answers in the place of a process that is stopped, hangs or waits for a lock.
//
// It watches, and does not decide. Silence is reported, by events; the application decides whether to keep the
// connection, for a while or for good, or to end it. What is kept recovers: a peer that speaks again is up again, and
// nothing was thrown away meanwhile.
//
// # Where to start
//
// If both ends are yours, give both a [Framed] layer. It has frames of its own on the wire, four bytes for each Send, and
// an empty one when there is nothing to say:
//
//	layer, err := liveness.Framed(liveness.Config{Timeout: 30 * time.Second})
//	cfg := conn.Config{Layers: []interceptor.Factory{layer}}
//
// Each side has its own patience, T: what the one must send follows from the T of the other, something every quarter of
// it, and they tell each other. A server may wait 4 minutes and its client 2 days; anything from 10 ms to 100 years will
// do. The events come to OnEvent:
//
//	func (s *session) OnEvent(c *conn.Conn, ev any) {
//		switch ev := ev.(type) {
//		case liveness.PeerDown:
//			if ev.Repeat == 0 {
//				ev.KeepFor(10 * time.Minute) // one more chance
//			} else {
//				c.Abort(ev.Err())
//			}
//		case liveness.PeerUp:
//			s.log.Info("the peer is back", "after", ev.DownFor)
//		}
//	}
//
// If OnEvent decides nothing, [Config].OnDown does: by default the connection is kept.
//
// For a protocol that is not yours there is [Passive], which adds nothing to the wire. It can be given a probe, a message
// of that protocol which makes a living peer answer: PING for redis, NOOP for SMTP. [Watchdog] is the algorithm that AAA
// protocols prescribe (RFC 3539): RADIUS over TCP and TLS, Diameter.
//
// [Of] finds the [Layer] of a connection, which can change its timeout, tell its [Status], and speak at once.
//
// # What counts
//
//   - Any byte that comes up to the layer is life, whatever it means. A keepalive ends there: the application hears
//     nothing of it.
//   - What waits in the system is read before anybody is judged, and delivered before PeerDown.
//   - What is our own fault is not the peer's: while this process is stopped, blocked, or its machine asleep, and while
//     the application pauses reading, nobody is called down; afterwards the peer gets time to speak.
//   - If reading is held back because bytes of ours wait (conn.Config.ReadWaits), the peer cannot be heard either. Then
//     the system's progress counts, or more bytes that arrive; T without either is PeerDown, with [WriteStalled].
//   - A peer that speaks but does not read is alive: PeerSuspect with WriteStalled says so, once. No keepalive is ever
//     added behind bytes that wait.
//   - PeerDown comes between T and T/64 (at least 2 ms) later, by the monotonic clock; a setting of the wall clock does
//     nothing. Keepalives of many connections are sent together, up to 10 ms early.
//
// # Letting go
//
// A side that has let go says so: with Close or CloseWrite the other one gets a goodbye and FIN, and OnEOF within a round
// trip. With [Framed], an end without a goodbye is reported as cut short: the process has died. Only when nothing arrives
// any more does silence have to speak.
//
// Liveness is no policy: to cut off a healthy peer that asks for nothing is for package conn/clean. Nor does it replace the
// system's own watch, which works where this one cannot, such as while reading is paused for days: see [OS]. Bytes of
// keepalives count as activity for conn.Config.IdleTimeout, which therefore makes little sense beside a Framed layer.
//
// # Cost
//
// A layer takes 64 bytes, and no goroutine. A keepalive is one turn of the connection every T/4 of the peer; where both
// sides have the same T, one of them speaks in the turn in which it hears the other.
//
// While nothing depends on it, the layer sees neither writes nor, in its Passive form, bytes: it asks the connection when
// they moved ([interceptor.Meter]). Where layers below make bytes, as TLS does, it must see them all.
package liveness

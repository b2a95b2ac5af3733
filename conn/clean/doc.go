// Package clean ends connections that are healthy, but no longer wanted: those that ask for nothing, have asked often
// enough, or are old. That is a server's decision about its clients, and has nothing to do with whether they are alive.
//
// Only the application knows what counts as use, so it says so, by [Cleaner.Message]. Keepalives, TLS records, half
// messages and whatever else moves bytes do not count, as they do for conn.Config.IdleTimeout.
//
// A [Policy] is shared, and makes one [Cleaner] for each connection. Give it three callbacks:
//
//	var policy = clean.Policy{IdleAfter: time.Minute, MaxMessages: 1000, MaxAge: time.Hour}
//
//	func (s *session) OnConnected(c *conn.Conn) {
//		s.cleaner = policy.New()
//		s.cleaner.Start(c)
//	}
//
//	func (s *session) OnReceived(c *conn.Conn, msg []byte) error {
//		if !s.cleaner.Message(c) {
//			return nil // one too many: the connection is closing
//		}
//		...
//	}
//
//	func (s *session) OnTimer(c *conn.Conn, t conn.TimerToken) {
//		if s.cleaner.Timer(c, t) {
//			return
//		}
//		...
//	}
//
// It closes in order, with conn.Conn.Close: what was sent still arrives. [Cleaner.Err] says why, for instance in OnClosed.
// One timer serves for all limits, and a message only stores a time.
package clean

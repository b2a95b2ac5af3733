// Package conntest tests handlers, layers and backends, without sockets and with time passed in.
//
// A [Rig] is a connection on a scripted socket. Your [conn.Handler] runs on it as it runs in production: in turns, with
// the same rules about order, flow and closing. The test plays the peer ([Rig.Feed], [Rig.FeedEOF], [Rig.Reset]), the
// system ([Rig.Allow], [Rig.FailWrite]), the clock ([Rig.Advance]) and the owner ([Rig.Do]), and looks at what was
// written ([Rig.Wire]). Nothing runs in the background: when a verb returns, everything it led to has happened. Layers
// that have goroutines of their own are the exception; [Rig.Await] is for them.
//
//	r := conntest.New(&echo{}, conn.Config{})
//	r.Feed("hello")
//	if got := r.Wire(); got != "hello" { ... }
//
// # Where to start
//
// With a test of your handler: [New], a verb or two, and what came of them. The example of [Rig] is one. Give New the
// option [Checked] in tests; [Dialed] is for clients, and [Manual] for tests that count turns.
//
// A [Recorder] is a handler that writes down its calls, and knows the promises of package conn: it reports each call
// that breaks one. [RunScripts] tells whole conversations as text, one file for each behaviour, and rewrites what
// follows from them on demand. [TestBackend] checks an implementation of [conn.Backend] against its contract.
//
// The Rig is stricter than a system. Readiness is reported once for each arrival. Memory given to OnReceived is
// overwritten when the call returns. A backend call that the contract forbids, and a callback outside its place in the
// turn, is a violation: see [Rig.Violations].
package conntest

// Package interceptor defines the layers between a socket and a handler. Layer 1 is the one nearest the socket; bytes
// from the wire go Up through the layers, bytes of the handler go Down.
//
// A layer changes bytes, adds its own, or holds back what comes up. It does no I/O, reads no clock and never blocks:
// a table of inputs and outputs tests it.
//
// # Where to start
//
// Most layers embed [Pass] and write only the methods of [Interceptor] that differ. This one masks what goes over
// the wire:
//
//	type masked struct{ interceptor.Pass }
//
//	func (masked) Up(l interceptor.Link, p []byte) error { return l.Up(mask(p)) }
//
//	func (masked) Down(l interceptor.Link, bufs [][]byte) error {
//		return l.Down([][]byte{mask(bytes.Join(bufs, nil))})
//	}
//
// A [Factory] makes one for each connection, and conn.Config.Layers lists factories:
//
//	conn.Config{Layers: []interceptor.Factory{func() interceptor.Interceptor { return masked{} }}}
//
// A layer meets its neighbours through its [Link] alone. Bytes are valid during the call only, both ways: a layer reads
// from its caller's memory, and the queue at the bottom makes the only copy. mask above must therefore return bytes of
// its own.
//
//   - A layer that needs more implements [Timed] (deadlines), [WriteObserver] (what the system took), [ReadObserver]
//     (whether reading is held back) or [SleepObserver] (whether the machine has slept).
//   - A [Chain] is a stack of layers, and itself one. A connection has one; [Find] gets a layer out of it.
//   - [Trace] logs what passes, and [Fault] damages it: put them anywhere in the list, to see what your layers do.
//
// # The life of a layer
//
// Open comes first, when the layer below is ready. Once the layer calls Link.Ready, the one above opens; the connection
// is connected when the top one is ready. Then Up, Down and the observers come in any order; EOF and CloseWrite end the
// two directions, each once. Close comes last, and always. An error from any of them but EOF ends the connection, with
// that error as its reason; Link.End does so in order, with last words.
package interceptor

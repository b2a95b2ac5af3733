// Package interceptor defines the layers between a socket and a handler. Layer 1 is the one nearest the socket; bytes
// from the wire go Up through the layers, bytes of the handler go Down.
//
// A layer changes bytes, adds its own, or holds back what comes up. It does no I/O, reads no clock and never blocks:
// a table of inputs and outputs tests it.
//
// Most layers embed [Pass] and write only the methods that differ. A layer meets its neighbours through its [Link]
// alone. Bytes are valid during the call only, both ways: a layer reads from its caller's memory, and the queue at the
// bottom makes the only copy.
package interceptor

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/galago-go/galago/interceptor"
)

// A twist is a layer that both ends must have, as a small TLS: a greeting each way, then records of masked bytes, then
// a goodbye, which is an empty record. The mask of a byte depends on its place, so that nothing may be lost below it.
type twist struct {
	interceptor.Pass
	dialed   bool
	greeted  bool // the peer's greeting was heard
	in       []byte
	up, down uint64 // bytes that went each way
	bye      bool   // the peer's goodbye was heard
}

const (
	greeting  = "twist"
	recordMax = 10_000
)

var errTwist = errors.New("twist: the peer does not speak it")

func newTwist() interceptor.Interceptor { return new(twist) }

// Open sends the greeting. The layer is ready when it has heard the other's.
func (t *twist) Open(l interceptor.Link) error {
	t.dialed = l.Info().Dialed
	return l.Down([][]byte{[]byte(greeting)})
}

// Up takes records apart.
func (t *twist) Up(l interceptor.Link, p []byte) error {
	t.in = append(t.in, p...)
	if !t.greeted {
		if len(t.in) < len(greeting) {
			return nil
		}
		if string(t.in[:len(greeting)]) != greeting {
			return errTwist
		}
		t.in, t.greeted = t.in[len(greeting):], true
		l.Ready()
	}
	for len(t.in) >= 2 {
		n := int(binary.BigEndian.Uint16(t.in))
		switch {
		case t.bye:
			return fmt.Errorf("%w: %d bytes behind its goodbye", errTwist, len(t.in))
		case n == 0:
			t.in, t.bye = t.in[2:], true
			if err := l.EOF(); err != nil {
				return err
			}
			continue
		case len(t.in) < 2+n:
			return nil
		}
		record := mask(t.in[2:2+n], t.up)
		t.up += uint64(n)
		t.in = t.in[2+n:]
		if err := l.Up(record); err != nil {
			return err
		}
	}
	if len(t.in) == 0 {
		t.in = nil
	}
	return nil
}

// EOF objects if there was no goodbye.
func (t *twist) EOF(interceptor.Link) error {
	if !t.bye {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// Down makes records.
func (t *twist) Down(l interceptor.Link, bufs [][]byte) error {
	for _, b := range bufs {
		for len(b) > 0 {
			n := min(len(b), recordMax)
			record := mask(b[:n], t.down)
			t.down += uint64(n)
			b = b[n:]
			if err := l.Down([][]byte{binary.BigEndian.AppendUint16(nil, uint16(n)), record}); err != nil {
				return err
			}
		}
	}
	return nil
}

// CloseWrite says goodbye.
func (t *twist) CloseWrite(l interceptor.Link) error { return l.Down([][]byte{{0, 0}}) }

// mask returns a masked copy of p, whose first byte is at at.
func mask(p []byte, at uint64) []byte {
	q := make([]byte, len(p))
	for i, b := range p {
		x := (at + uint64(i)) * golden
		q[i] = b ^ byte(x>>56)
	}
	return q
}

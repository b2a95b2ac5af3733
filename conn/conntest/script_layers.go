package conntest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/galago-go/galago/interceptor"
)

// builtin are the layers that every script may use.
var builtin = []ScriptLayer{
	{"wrap", func(args []string) (interceptor.Factory, error) {
		return func() interceptor.Interceptor { return wrap{open: args[0], close: args[1]} }, count(args, 2, 2)
	}},
	{"hello", func(args []string) (interceptor.Factory, error) {
		return func() interceptor.Interceptor { return &hello{say: args[0], hear: args[1]} }, count(args, 2, 2)
	}},
	{"bye", func(args []string) (interceptor.Factory, error) {
		return func() interceptor.Interceptor { return bye{words: args[0]} }, count(args, 1, 1)
	}},
	{"silent", func(args []string) (interceptor.Factory, error) {
		return func() interceptor.Interceptor { return silent{} }, count(args, 0, 0)
	}},
	{"break", func(args []string) (interceptor.Factory, error) {
		return func() interceptor.Interceptor { return breaking{bad: args[0], words: strings.Join(args[1:], "")} }, count(args, 1, 2)
	}},
}

func count(args []string, from, to int) error {
	if len(args) < from || len(args) > to {
		return fmt.Errorf("it takes %d to %d arguments, not %d", from, to, len(args))
	}
	return nil
}

func down(l interceptor.Link, words string) error {
	if words == "" {
		return nil
	}
	return l.Down([][]byte{[]byte(words)})
}

// wrap puts marks around what goes down, and drops their bytes from what comes up.
type wrap struct {
	interceptor.Pass
	open, close string
}

func (w wrap) Down(l interceptor.Link, bufs [][]byte) error {
	wrapped := append([][]byte{[]byte(w.open)}, bufs...)
	return l.Down(append(wrapped, []byte(w.close)))
}

func (w wrap) Up(l interceptor.Link, p []byte) error {
	var bare []byte // p is not ours to change
	for _, b := range p {
		if strings.IndexByte(w.open+w.close, b) < 0 {
			bare = append(bare, b)
		}
	}
	if len(bare) == 0 {
		return nil
	}
	return l.Up(bare)
}

// hello is ready when the peer has answered.
type hello struct {
	interceptor.Pass
	say, hear string
	ready     bool
}

func (h *hello) Open(l interceptor.Link) error { return down(l, h.say) }

func (h *hello) Up(l interceptor.Link, p []byte) error {
	if !h.ready {
		n := min(len(p), len(h.hear))
		if string(p[:n]) != h.hear[:n] {
			return fmt.Errorf("the peer does not say %q", h.hear)
		}
		h.hear, p = h.hear[n:], p[n:]
		if h.hear != "" {
			return nil
		}
		h.ready = true
		l.Ready()
	}
	if len(p) == 0 {
		return nil
	}
	return l.Up(p)
}

func (h *hello) EOF(interceptor.Link) error {
	if !h.ready {
		return errors.New("the peer left before it said hello")
	}
	return nil
}

// bye has parting words.
type bye struct {
	interceptor.Pass
	words string
}

func (b bye) CloseWrite(l interceptor.Link) error { return down(l, b.words) }

// silent is never ready.
type silent struct{ interceptor.Pass }

func (silent) Open(interceptor.Link) error { return nil }

// breaking fails when it meets certain bytes, with or without last words.
type breaking struct {
	interceptor.Pass
	bad, words string
}

func (b breaking) Up(l interceptor.Link, p []byte) error {
	if !bytes.Contains(p, []byte(b.bad)) {
		return l.Up(p)
	}
	if err := down(l, b.words); err != nil {
		return err
	}
	return fmt.Errorf("%q came up", b.bad)
}

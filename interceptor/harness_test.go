package interceptor

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// A journal is what happened, in order, to all who share it.
type journal struct{ lines []string }

func (j *journal) add(format string, args ...any) {
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

// take returns what happened since the last take, as one line.
func (j *journal) take() string {
	s := strings.Join(j.lines, " ")
	j.lines = j.lines[:0]
	return s
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got  %s\n want %s", what, got, want)
	}
}

var epoch = time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)

// at is a time of the tests, s seconds after they begin.
func at(s float64) time.Time { return epoch.Add(time.Duration(s * float64(time.Second))) }

// A socket is the Link around a chain under test. It collects; its turns are taken by the test.
type socket struct {
	journal  *journal
	now      time.Time
	up, down strings.Builder
	posts    []func() error
	deadline time.Time
	held     bool
	isReady  bool
	closing  bool
	unread   int
	onUp     func(p []byte) error // runs in Up, if set
	onReady  func()
	coarse   bool // does not write down how it learned its deadline
	silent   bool // neither writes down nor collects, so that it allocates nothing
}

func newSocket() *socket { return &socket{journal: new(journal), now: epoch} }

func (s *socket) Up(p []byte) error {
	if s.silent {
		return nil
	}
	s.journal.add("up(%s)", p)
	s.up.Write(p)
	if s.onUp != nil {
		return s.onUp(p)
	}
	return nil
}

func (s *socket) Down(bufs [][]byte) error {
	if s.silent {
		return nil
	}
	var all []byte
	for _, b := range bufs {
		all = append(all, b...)
	}
	s.journal.add("down(%s)", all)
	s.down.Write(all)
	return nil
}

func (s *socket) EOF() error { s.journal.add("eof"); return nil }

func (s *socket) Ready() {
	s.isReady = true
	s.journal.add("ready")
	if s.onReady != nil {
		s.onReady()
	}
}

func (s *socket) Raise(ev any)        { s.journal.add("raise(%v)", ev) }
func (s *socket) Post(f func() error) { s.posts = append(s.posts, f) }
func (s *socket) Hold()               { s.hold(true, "hold") }
func (s *socket) Release()            { s.hold(false, "release") }
func (s *socket) End(err error)       { s.journal.add("end(%v)", err) }
func (s *socket) Closing() bool       { return s.closing }
func (s *socket) Unread() int         { return s.unread }
func (s *socket) Now() time.Time      { return s.now }

func (s *socket) Info() Info {
	return Info{Remote: netip.MustParseAddrPort("192.0.2.7:4711"), Host: "example.test", Dialed: true}
}

func (s *socket) SetDeadline(t time.Time) {
	s.deadline = t
	if s.silent || s.coarse {
		return
	}
	if t.IsZero() {
		s.journal.add("deadline(never)")
	} else {
		s.journal.add("deadline(%v)", t.Sub(epoch))
	}
}

func (s *socket) hold(held bool, what string) {
	s.held = held
	if !s.silent {
		s.journal.add("%s", what)
	}
}

// turn runs what was posted by then, as a connection does, and returns the errors.
func (s *socket) turn() error {
	posts := s.posts
	s.posts = nil
	var errs []error
	for _, f := range posts {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// A puppet is a layer that writes down each call, and does what the test says. It passes everything on, is ready at
// once, and complains when it is called after Close, or when Close finds another method running.
type puppet struct {
	t       *testing.T
	name    string
	journal *journal
	link    Link
	lazy    bool                          // is not ready in Open
	quiet   bool                          // passes nothing up
	errs    map[string]error              // by method
	do      map[string]func(l Link) error // by method; runs before bytes are passed on
	bye     string                        // goes down in CloseWrite
	inside  int
	closes  int
}

func (p *puppet) call(l Link, method, args string) func() {
	if p.closes > 0 {
		p.t.Errorf("%s of %s is called after Close", method, p.name)
	}
	if p.link != nil && p.link != l {
		p.t.Errorf("%s of %s is given a second Link", method, p.name)
	}
	p.link = l
	p.inside++
	p.journal.add("%s.%s%s", p.name, method, args)
	return func() { p.inside-- }
}

func (p *puppet) act(l Link, method string) error {
	if f := p.do[method]; f != nil {
		if err := f(l); err != nil {
			return err
		}
	}
	return p.errs[method]
}

func (p *puppet) Open(l Link) error {
	defer p.call(l, "Open", "")()
	if err := p.act(l, "Open"); err != nil {
		return err
	}
	if !p.lazy {
		l.Ready()
	}
	return nil
}

func (p *puppet) Up(l Link, b []byte) error {
	defer p.call(l, "Up", "("+string(b)+")")()
	if err := p.act(l, "Up"); err != nil || p.quiet {
		return err
	}
	return l.Up(b)
}

func (p *puppet) EOF(l Link) error {
	defer p.call(l, "EOF", "")()
	return p.act(l, "EOF")
}

func (p *puppet) Down(l Link, bufs [][]byte) error {
	defer p.call(l, "Down", "("+string(flat(bufs))+")")()
	if err := p.act(l, "Down"); err != nil {
		return err
	}
	return l.Down(bufs)
}

func (p *puppet) CloseWrite(l Link) error {
	defer p.call(l, "CloseWrite", "")()
	if err := p.act(l, "CloseWrite"); err != nil {
		return err
	}
	if p.bye != "" {
		return l.Down([][]byte{[]byte(p.bye)})
	}
	return nil
}

func (p *puppet) Expire(l Link, now time.Time) error {
	defer p.call(l, "Expire", fmt.Sprintf("(%v)", now.Sub(epoch)))()
	return p.act(l, "Expire")
}

func (p *puppet) Wrote(l Link, n, pending int) {
	defer p.call(l, "Wrote", fmt.Sprintf("(%d,%d)", n, pending))()
	_ = p.act(l, "Wrote")
}

func (p *puppet) Reading(l Link, held bool) {
	defer p.call(l, "Reading", fmt.Sprintf("(%v)", held))()
	_ = p.act(l, "Reading")
}

func (p *puppet) Slept(l Link, d time.Duration) {
	defer p.call(l, "Slept", fmt.Sprintf("(%v)", d))()
	_ = p.act(l, "Slept")
}

func (p *puppet) Close() {
	p.closes++
	if p.closes > 1 {
		p.t.Errorf("Close of %s is called %d times", p.name, p.closes)
	}
	if p.inside > 0 {
		p.t.Errorf("Close of %s is called while another of its methods runs", p.name)
	}
	p.journal.add("%s.Close", p.name)
	if f := p.do["Close"]; f != nil {
		_ = f(p.link)
	}
}

func flat(bufs [][]byte) []byte {
	var all []byte
	for _, b := range bufs {
		all = append(all, b...)
	}
	return all
}

// stacked makes a chain of puppets named A, B, C and so on, A nearest the socket, and opens it unless a puppet is
// changed first by prepare.
func stacked(t *testing.T, n int, prepare func(p []*puppet)) (*Chain, *socket, []*puppet) {
	t.Helper()
	s, c := newSocket(), new(Chain)
	var all []*puppet
	for i := range n {
		all = append(all, newPuppet(t, s.journal, string(rune('A'+i))))
	}
	if prepare != nil {
		prepare(all)
	}
	for _, p := range all {
		if err := c.Push(p); err != nil {
			t.Fatal(err)
		}
	}
	return c, s, all
}

// opened is stacked, and open; what was written down by then is dropped.
func opened(t *testing.T, n int, prepare func(p []*puppet)) (*Chain, *socket, []*puppet) {
	t.Helper()
	c, s, all := stacked(t, n, prepare)
	if err := c.Open(s); err != nil {
		t.Fatal(err)
	}
	s.journal.take()
	return c, s, all
}

func newPuppet(t *testing.T, j *journal, name string) *puppet {
	return &puppet{t: t, name: name, journal: j, errs: map[string]error{}, do: map[string]func(Link) error{}}
}

func one(s string) [][]byte { return [][]byte{[]byte(s)} }

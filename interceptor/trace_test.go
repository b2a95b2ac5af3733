package interceptor

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// traced opens a chain of one Trace layer that logs text to the buffer.
func traced(t *testing.T, level slog.Level) (*Chain, *socket, *bytes.Buffer) {
	t.Helper()
	buf := new(bytes.Buffer)
	log := slog.New(slog.NewTextHandler(buf, &slog.HandlerOptions{Level: level})).With("conn", 7)
	s, c := newSocket(), chainOf(t, Trace(log)())
	if err := c.Open(s); err != nil {
		t.Fatal(err)
	}
	return c, s, buf
}

func TestTraceLogsWhatPasses(t *testing.T) {
	c, s, buf := traced(t, slog.LevelDebug)
	s.now = at(1.5)
	_ = c.Up(s, []byte("GET / HTTP/1.1\r\n"))
	_ = c.Up(s, []byte{0x16, 3, 1})
	_ = c.Up(s, nil)
	_ = c.Down(s, [][]byte{[]byte("HTTP/1.1 200 OK\r\n"), nil, []byte("Content-Length: 12345\r\n")})
	c.Wrote(s, 39, 2)
	c.Reading(s, true)
	c.Slept(s, time.Hour)
	_ = c.EOF(s)
	_ = c.CloseWrite(s)
	c.Close()
	head := ` conn=7 remote=192.0.2.7:4711`
	wantLog := strings.Join([]string{
		`time=2024-02-29T12:00:00.000Z level=DEBUG msg=open` + head,
		`time=2024-02-29T12:00:01.500Z level=DEBUG msg=up` + head + ` bytes=16 text="GET / HTTP/1.1\r\n"`,
		`time=2024-02-29T12:00:01.500Z level=DEBUG msg=up` + head + ` bytes=3 hex=160301`,
		`time=2024-02-29T12:00:01.500Z level=DEBUG msg=up` + head + ` bytes=0 text=""`,
		`time=2024-02-29T12:00:01.500Z level=DEBUG msg=down` + head + ` bytes=40 text="HTTP/1.1 200 OK\r\nContent-Length:"`,
		`time=2024-02-29T12:00:01.500Z level=DEBUG msg=wrote` + head + ` bytes=39 pending=2`,
		`time=2024-02-29T12:00:01.500Z level=DEBUG msg=reading` + head + ` held=true`,
		`time=2024-02-29T12:00:01.500Z level=DEBUG msg=slept` + head + ` for=1h0m0s`,
		`time=2024-02-29T12:00:01.500Z level=DEBUG msg=eof` + head,
		`time=2024-02-29T12:00:01.500Z level=DEBUG msg=closewrite` + head,
		`time=2024-02-29T12:00:01.500Z level=DEBUG msg=close` + head,
	}, "\n") + "\n"
	want(t, "the log", buf.String(), wantLog)
	want(t, "everything passes", s.journal.take(), "ready up(GET / HTTP/1.1\r\n) up(\x16\x03\x01) up() "+
		"down(HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n) eof")
}

func TestTraceShowsAtMost32Bytes(t *testing.T) {
	c, s, buf := traced(t, slog.LevelDebug)
	buf.Reset()
	long := strings.Repeat("0123456789", 5)
	_ = c.Up(s, []byte(long))
	_ = c.Down(s, [][]byte{[]byte(long[:31]), []byte(long[:31])})
	got := buf.String()
	if !strings.Contains(got, `bytes=50 text=`+long[:32]+"\n") ||
		!strings.Contains(got, `bytes=62 text=`+long[:31]+"0\n") {
		t.Errorf("the log is\n%s", got)
	}
}

func TestTraceSilentBelowItsLevel(t *testing.T) {
	c, s, buf := traced(t, slog.LevelInfo)
	s.silent = true
	p := make([]byte, 64)
	bufs := [][]byte{p}
	if n := testing.AllocsPerRun(100, func() {
		_ = c.Up(s, p)
		_ = c.Down(s, bufs)
		c.Wrote(s, 64, 0)
		c.Reading(s, true)
		c.Reading(s, false)
		c.Slept(s, time.Hour)
	}); n != 0 {
		t.Errorf("a trace that is off allocates %v times", n)
	}
	_ = c.EOF(s)
	_ = c.CloseWrite(s)
	c.Close()
	want(t, "the log", buf.String(), "")
}

// unixSocket is a socket without addresses.
type unixSocket struct {
	*socket
	host string
}

func (u unixSocket) Info() Info { return Info{Host: u.host} }

func TestTraceNamesTheHostIfThereIsNoAddress(t *testing.T) {
	for host, part := range map[string]string{"/run/x.sock": " msg=open remote=/run/x.sock\n", "": " msg=open\n"} {
		buf := new(bytes.Buffer)
		log := slog.New(slog.NewTextHandler(buf, &slog.HandlerOptions{Level: slog.LevelDebug}))
		_ = chainOf(t, Trace(log)()).Open(unixSocket{newSocket(), host})
		if !strings.HasSuffix(buf.String(), part) {
			t.Errorf("the log is %q", buf.String())
		}
	}
}

func TestTraceTakesTheDefaultLogger(t *testing.T) {
	buf := new(bytes.Buffer)
	old := slog.Default()
	defer slog.SetDefault(old)
	f := Trace(nil)
	slog.SetDefault(slog.New(slog.NewTextHandler(buf, &slog.HandlerOptions{Level: slog.LevelDebug})))
	_ = chainOf(t, f()).Open(newSocket())
	if !strings.Contains(buf.String(), "msg=open") {
		t.Errorf("the log is %q", buf.String())
	}
}

// failing is a log that cannot be written.
type failing struct{ slog.Handler }

func (failing) Enabled(context.Context, slog.Level) bool  { return true }
func (failing) Handle(context.Context, slog.Record) error { return errTest }

func TestALogThatFailsDoesNotEndTheConnection(t *testing.T) {
	s, c := newSocket(), chainOf(t, Trace(slog.New(failing{}))())
	if err := c.Open(s); err != nil {
		t.Error(err)
	}
	if err := c.Up(s, []byte("u")); err != nil {
		t.Error(err)
	}
	want(t, "calls", s.journal.take(), "ready up(u)")
}

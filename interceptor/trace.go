package interceptor

import (
	"context"
	"encoding/hex"
	"log/slog"
	"time"
)

// Trace logs, at level Debug, what passes: bytes up and down with how many there are and the first 32 of them, ends,
// progress of writing, when reading is held back and runs again, and for how long the machine slept. Each record carries the time of the turn and the
// remote address, if there is one. If log is nil, each connection takes what is then slog.Default.
//
// What a record's bytes are depends on the layer's place: below TLS it sees records, above it plain text. While the
// level is off, it only asks whether it is on.
func Trace(log *slog.Logger) Factory {
	return func() Interceptor {
		if log == nil {
			return &tracer{log: slog.Default()}
		}
		return &tracer{log: log}
	}
}

type tracer struct {
	Pass
	log  *slog.Logger
	link Link // for Close, which is given none
}

var (
	_ WriteObserver = (*tracer)(nil)
	_ ReadObserver  = (*tracer)(nil)
	_ SleepObserver = (*tracer)(nil)
)

// maxTraced is how many bytes of one call a record shows.
const maxTraced = 32

func (t *tracer) on() bool { return t.log.Enabled(context.Background(), slog.LevelDebug) }

// record logs event. It goes around the Logger, which would read the clock.
func (t *tracer) record(l Link, event string, attrs ...slog.Attr) {
	r := slog.NewRecord(l.Now(), slog.LevelDebug, event, 0)
	switch info := l.Info(); {
	case info.Remote.IsValid():
		r.AddAttrs(slog.String("remote", info.Remote.String()))
	case info.Addr != "":
		r.AddAttrs(slog.String("remote", info.Addr))
	case info.Host != "":
		r.AddAttrs(slog.String("remote", info.Host))
	}
	r.AddAttrs(attrs...)
	_ = t.log.Handler().Handle(context.Background(), r) // a log that fails must not end the connection
}

// shown is head as an attribute: as text if that is readable, else in hexadecimal.
func shown(head []byte) slog.Attr {
	for _, b := range head {
		if (b < ' ' || b > '~') && b != '\t' && b != '\r' && b != '\n' {
			return slog.String("hex", hex.EncodeToString(head))
		}
	}
	return slog.String("text", string(head))
}

func (t *tracer) Open(l Link) error {
	t.link = l
	if t.on() {
		t.record(l, "open")
	}
	l.Ready()
	return nil
}

func (t *tracer) Up(l Link, p []byte) error {
	if t.on() {
		t.record(l, "up", slog.Int("bytes", len(p)), shown(p[:min(len(p), maxTraced)]))
	}
	return l.Up(p)
}

func (t *tracer) EOF(l Link) error {
	if t.on() {
		t.record(l, "eof")
	}
	return nil
}

func (t *tracer) Down(l Link, bufs [][]byte) error {
	if t.on() {
		total := 0
		head := make([]byte, 0, maxTraced)
		for _, b := range bufs {
			total += len(b)
			head = append(head, b[:min(len(b), maxTraced-len(head))]...)
		}
		t.record(l, "down", slog.Int("bytes", total), shown(head))
	}
	return l.Down(bufs)
}

func (t *tracer) CloseWrite(l Link) error {
	if t.on() {
		t.record(l, "closewrite")
	}
	return nil
}

func (t *tracer) Wrote(l Link, n, pending int) {
	if t.on() {
		t.record(l, "wrote", slog.Int("bytes", n), slog.Int("pending", pending))
	}
}

func (t *tracer) Reading(l Link, held bool) {
	if t.on() {
		t.record(l, "reading", slog.Bool("held", held))
	}
}

func (t *tracer) Slept(l Link, d time.Duration) {
	if t.on() {
		t.record(l, "slept", slog.Duration("for", d))
	}
}

func (t *tracer) Close() {
	if t.on() {
		t.record(t.link, "close")
	}
}

package conntest

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor"
)

// A faulty is a backend that breaks its contract in one way.
type faulty struct {
	*socket
	fault string
	kept  [][]byte
	posts int
}

func (f *faulty) Read(p []byte) (int, error) {
	if f.fault == "CloseWrite ends both" && f.fin {
		return 0, io.EOF
	}
	n, err := f.socket.Read(p)
	switch {
	case f.fault == "an end where there is nothing" && err == conn.ErrWouldBlock:
		return 0, io.EOF
	case f.fault == "a reset like an end" && err == syscall.ECONNRESET:
		return 0, io.EOF
	case f.fault == "an error beside bytes" && n > 0:
		return n, io.EOF
	case f.fault == "bytes in disorder" && n > 1:
		p[0], p[n-1] = p[n-1], p[0]
	case f.fault == "nothing and no error" && err == conn.ErrWouldBlock:
		return 0, nil
	}
	return n, err
}

func (f *faulty) Unread() (int, error) {
	n, err := f.socket.Unread()
	switch f.fault {
	case "Unread takes":
		if n > 0 {
			_, _ = f.socket.Read(make([]byte, n))
		}
	case "Unread sees no end":
		err = nil
	case "Unread counts wrong":
		if n > 0 {
			n++
		}
	}
	return n, err
}

func (f *faulty) Write(bufs [][]byte) (int, error) {
	if f.fault == "Write keeps" {
		if f.kept == nil {
			f.kept = bufs
			n := 0
			for _, b := range bufs {
				n += len(b)
			}
			return n, nil // it will write them next time
		}
		_, _ = f.socket.Write(f.kept)
	}
	n, err := f.socket.Write(bufs)
	switch f.fault {
	case "Write changes":
		clear(bufs[0])
	case "Write says more than it took":
		if err == nil {
			n++
		}
	case "Write says less than it took":
		if n > 1 {
			n--
		}
	}
	return n, err
}

func (f *faulty) Close(reset bool) error {
	return f.socket.Close(reset || f.fault == "Close resets")
}

func (f *faulty) Post(g func()) {
	switch f.fault {
	case "Post runs at once":
		g()
	case "Post forgets":
		if f.posts++; f.posts%10 != 0 {
			f.socket.Post(g)
		}
	default:
		f.socket.Post(g)
	}
}

func (f *faulty) Info() interceptor.Info {
	if f.fault == "Info is lost" && f.closed {
		return interceptor.Info{}
	}
	return f.socket.Info()
}

var faults = []string{
	"an end where there is nothing", "a reset like an end", "an error beside bytes", "bytes in disorder",
	"nothing and no error", "Unread takes", "Unread sees no end", "Unread counts wrong", "Write keeps", "Write changes",
	"Write says more than it took", "Write says less than it took", "CloseWrite ends both", "Close resets",
	"Post runs at once", "Post forgets", "Info is lost", "readiness is reported once only", "the turn is not taken",
}

// TestOneFault runs the suite on a faulty backend. It is run by the test below, in a process of its own, and fails.
func TestOneFault(t *testing.T) {
	fault := os.Getenv("CONNTEST_FAULT")
	if fault == "" {
		t.Skip("it is run by TestTheSuiteFindsEachFault")
	}
	patience, most = 200*time.Millisecond, 1<<20
	TestBackend(t, func(t *testing.T) Pair {
		w := newWire(t)
		p := w.pair()
		near, far := &faulty{socket: w.ends[0], fault: fault}, &faulty{socket: w.ends[1], fault: fault}
		p.Near, p.Far = near, far
		turn, ready, reports := p.Turn, p.Ready, 0
		p.Turn = func(b conn.Backend, f func()) {
			if fault == "the turn is not taken" {
				return
			}
			turn(b.(*faulty).socket, f)
		}
		p.Ready = func(b conn.Backend) conn.Interest {
			i := ready(b.(*faulty).socket)
			if i != 0 {
				reports++
			}
			if fault == "readiness is reported once only" && reports > 1 {
				return 0
			}
			return i
		}
		return p
	})
}

func TestTheSuiteFindsEachFault(t *testing.T) {
	for _, fault := range faults {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestOneFault$", "-test.timeout=30s")
			cmd.Env = append(os.Environ(), "CONNTEST_FAULT="+fault)
			out, err := cmd.CombinedOutput()
			assert.Error(t, err, "the suite passes")
			assert.Contains(t, string(out), "--- FAIL: TestOneFault/", "it fails in a part of the suite")
			assert.False(t, strings.Contains(string(out), "panic:"), "%s", out)
		})
	}
}

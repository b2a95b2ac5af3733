package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/examples/internal/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m, main)) }

// framed returns a frame.
func framed(body string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

// hear reads a frame, and requires it to be what is wanted.
func hear(t *testing.T, c io.Reader, want string) {
	t.Helper()
	head := make([]byte, 4)
	_, err := io.ReadFull(c, head)
	require.NoError(t, err)
	require.EqualValues(t, len(want), binary.BigEndian.Uint32(head), "length of the answer")
	body := make([]byte, len(want))
	_, err = io.ReadFull(c, body)
	require.NoError(t, err)
	require.True(t, want == string(body), "the answer is %.100q, not %.100q", body, want)
}

// ask sends a request and requires an answer.
func ask(t *testing.T, c io.ReadWriter, request, want string) {
	t.Helper()
	_, err := c.Write(framed(request))
	require.NoError(t, err)
	hear(t, c, want)
}

const unknown = "error: a request is set NAME VALUE, get NAME or del NAME"

func TestServerAndClient(t *testing.T) {
	server := program.Start(t)
	requests := "get a\nset a one two  three\r\nget a\n\nset b\nset  c\nset e \nget e\nget \ndel a\ndel a\nget a\nGET a\n"
	answers := []string{
		"none", "ok", "ok one two  three", unknown, unknown, unknown, "ok", "ok ", "none", "ok", "none", "none", unknown,
	}
	code, stdout, stderr := program.Run(t, requests, "-to", server.Addr)
	assert.Equal(t, 0, code, stderr)
	assert.Equal(t, answers, strings.Split(strings.TrimSuffix(stdout, "\n"), "\n"))
	assert.Empty(t, stderr)

	// What one connection stores, another finds: also an end of line and a zero byte.
	a, b := server.Dial(t), server.Dial(t)
	ask(t, a, "set x \x00\r\n y", "ok")
	ask(t, b, "get x", "ok \x00\r\n y")
	a.Close()
	b.Close()
	code, stdout, stderr = program.Run(t, "", "-to", server.Addr)
	assert.Equal(t, []any{0, "", ""}, []any{code, stdout, stderr}, "nothing to ask")
	assert.Equal(t, "framed: shut down; requests answered: 15; connections closed in order: 0, aborted: 0\n",
		server.Stop(t))
}

// Wherever the network cuts the stream, the same requests come out of it.
func TestRCV3_RequestsCutAnywhere(t *testing.T) {
	server := program.Start(t)
	c := server.Dial(t)
	stream := append(framed("set k value"), framed("get k")...)
	for cut := range stream {
		_, err := c.Write(stream[:cut])
		require.NoError(t, err)
		_, err = c.Write(stream[cut:])
		require.NoError(t, err)
		hear(t, c, "ok")
		hear(t, c, "ok value")
	}
	_, err := c.Write(bytes.Repeat(stream, 500)) // and many in one piece
	require.NoError(t, err)
	for range 500 {
		hear(t, c, "ok")
		hear(t, c, "ok value")
	}
}

// The client program sends ahead as well: much more than the sockets hold, both ways.
func TestTheClientSendsAhead(t *testing.T) {
	const count = 2000
	server := program.Start(t)
	value := strings.Repeat("v", 20_000)
	var requests, answers strings.Builder
	for i := range count {
		fmt.Fprintf(&requests, "set n%d %s\nget n%d\n", i%10, value, i%10)
		fmt.Fprintf(&answers, "ok\nok %s\n", value)
	}
	code, stdout, stderr := program.Run(t, requests.String(), "-to", server.Addr)
	assert.Equal(t, 0, code, stderr)
	assert.Empty(t, stderr)
	assert.True(t, stdout == answers.String(), "%d bytes of answers, %d wanted", len(stdout), answers.Len())
}

func TestAFrameThatIsTooLong(t *testing.T) {
	server := program.Start(t, "-max", "100")
	c, other := server.Dial(t), server.Dial(t)
	longest := strings.Repeat("x", 100-len("set k "))
	ask(t, c, "set k "+longest, "ok")
	ask(t, c, "get k", "ok "+longest)
	_, err := c.Write([]byte{0, 0, 0, 101})
	require.NoError(t, err)
	_, err = c.Read(make([]byte, 1))
	assert.ErrorIs(t, err, syscall.ECONNRESET, "what the peer sees: no answer, and no orderly end")
	ask(t, other, "get k", "ok "+longest)
	other.Close()

	name := c.LocalAddr().String()
	assert.Contains(t, server.Stop(t), "framed: "+name+": reset: it announced a frame of 101 bytes, and -max is 100\n")
}

func TestRCV18_AStreamThatEndsInsideAFrame(t *testing.T) {
	server := program.Start(t)
	c := server.Dial(t)
	_, err := c.Write(append(framed("get k"), framed("set k and more")[:7]...))
	require.NoError(t, err)
	require.NoError(t, c.CloseWrite())
	hear(t, c, "none")
	_, err = c.Read(make([]byte, 1))
	assert.Equal(t, io.EOF, err, "what was whole is answered, and the end is an orderly one")

	stderr := server.Stop(t)
	assert.Contains(t, stderr,
		"framed: "+c.LocalAddr().String()+": closed: the stream broke off inside a frame, after 7 bytes")
	assert.Contains(t, stderr, "requests answered: 1;")
}

func TestTheStoreHasABound(t *testing.T) {
	server := program.Start(t)
	c := server.Dial(t)
	for i := range maxNames {
		ask(t, c, fmt.Sprintf("set name%d x", i), "ok")
	}
	ask(t, c, "set another x", "error: 1000 names are kept, and no more: del one first")
	ask(t, c, "set name7 y", "ok")
	ask(t, c, "del name8", "ok")
	ask(t, c, "set another x", "ok")
}

func TestShutdownEndsConnectionsInOrder(t *testing.T) {
	server := program.Start(t)
	c := server.Dial(t)
	ask(t, c, "get k", "none")
	server.Signal(t, os.Interrupt)
	_, err := c.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
	c.Close()
	require.Equal(t, 0, server.Wait(t))
	assert.Equal(t, "framed: shut down; requests answered: 1; connections closed in order: 1, aborted: 0\n",
		server.Stderr(t))
}

// An answer allocates nothing: neither the length before it, nor the two parts of one Send.
func TestAnAnswerAllocatesNothing(t *testing.T) {
	sv := &server{store: store{values: map[string][]byte{"k": []byte("value")}}, log: log.New(io.Discard, "", 0)}
	s := &session{server: sv}
	r := conntest.New(s, framing(1000))
	request := []byte("get k")
	r.Do(func(c *conn.Conn) {
		// All in one turn, which writes at its end. What the queue needs for them is shared by many answers.
		assert.Zero(t, testing.AllocsPerRun(1000, func() { _ = s.OnReceived(c, request) }))
	})
	assert.Equal(t, strings.Repeat("\x00\x00\x00\x08ok value", 1001), r.Wire())
}

// Whatever -max allows, an answer must fit: those without a value into the least, the others because the request that
// brought the value was longer.
func TestAnswersFitIntoAFrame(t *testing.T) {
	for _, answer := range [][]byte{isOK, isNone, isUnknown, isFull} {
		assert.LessOrEqual(t, len(answer), minFrame, "%s", answer)
	}
	assert.Less(t, len(isValue), len("set N "))
}

// fakeServer accepts one connection and lets serve do the rest.
func fakeServer(t *testing.T, serve func(c net.Conn) error) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		c, err := ln.Accept()
		if err == nil {
			c.SetDeadline(time.Now().Add(program.Patience))
			err = serve(c)
			c.Close()
		}
		done <- err
	}()
	t.Cleanup(func() {
		ln.Close()
		assert.NoError(t, <-done)
	})
	return ln.Addr().String()
}

func TestServersThatBreakOff(t *testing.T) {
	request := make([]byte, len(framed("get k")))
	for name, test := range map[string]struct {
		answer []byte
		says   string
	}{
		"without an answer":         {nil, "too early; answered: 0 of 1"},
		"inside an answer":          {framed("none")[:6], "inside a frame"},
		"with a frame too long":     {[]byte{0x7f, 0xff, 0xff, 0xff}, "2147483647"},
		"before the client has all": {framed("none"), "too early; answered: 1 of 1"},
	} {
		t.Run(name, func(t *testing.T) {
			addr := fakeServer(t, func(c net.Conn) error {
				if _, err := io.ReadFull(c, request); err != nil {
					return err
				}
				_, err := c.Write(test.answer)
				return err
			})
			stdin, input := io.Pipe() // which stays open: the client would ask more
			t.Cleanup(func() { input.Close() })
			go io.WriteString(input, "get k\n")
			p := program.Launch(t, stdin, "-to", addr)
			p.Rest(t)
			input.Close() // the process has ended, but package exec still copies
			assert.Equal(t, 1, p.Wait(t))
			assert.Contains(t, p.Stderr(t), test.says)
			assert.Equal(t, 1, strings.Count(p.Stderr(t), "framed: "), "it says so once")
		})
	}
}

// Interrupted, the client still closes in order.
func TestInterruptedClient(t *testing.T) {
	connected, ended := make(chan struct{}), make(chan error, 1)
	addr := fakeServer(t, func(c net.Conn) error {
		close(connected)
		_, err := c.Read(make([]byte, 1))
		ended <- err
		return nil
	})
	stdin, input := io.Pipe()
	t.Cleanup(func() { input.Close() })
	p := program.Launch(t, stdin, "-to", addr)
	<-connected
	p.Signal(t, os.Interrupt)
	p.Rest(t)
	input.Close()
	assert.Equal(t, 1, p.Wait(t))
	assert.Equal(t, "framed: interrupted\n", p.Stderr(t))
	assert.Equal(t, io.EOF, <-ended, "the end, and no reset")
}

func TestALineThatIsTooLong(t *testing.T) {
	server := program.Start(t, "-max", "100")
	input := "set k v\nget " + strings.Repeat("k", 97) + "\n"
	code, stdout, stderr := program.Run(t, input, "-to", server.Addr, "-max", "100")
	assert.Equal(t, 1, code)
	assert.Equal(t, "ok\n", stdout, "what came before is answered")
	assert.Equal(t, "framed: line 2 of the input is longer than -max, 100 bytes: raise it on both sides\n", stderr)
	code, stdout, _ = program.Run(t, "get "+strings.Repeat("k", 96)+"\n", "-to", server.Addr, "-max", "100")
	assert.Equal(t, 0, code)
	assert.Equal(t, "none\n", stdout, "100 bytes fit")
}

func TestBadSettings(t *testing.T) {
	first, free := program.Start(t), program.FreeAddr(t)
	for _, test := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"port in use", []string{"-addr", first.Addr}, 1, []string{"-addr", first.Addr, "already in use", "a free one"}},
		{"no port", []string{"-addr", "127.0.0.1"}, 1, []string{"-addr", `"127.0.0.1"`, "host:port"}},
		{"negative loops", []string{"-addr", "127.0.0.1:0", "-loops", "-1"}, 1, []string{"-loops -1"}},
		{"nobody listens", []string{"-to", free}, 1, []string{free, "connection refused"}},
		{"no port to dial", []string{"-to", "localhost"}, 1, []string{`"localhost"`, "host:port"}},
		{"no such name", []string{"-to", "nobody.invalid:7670"}, 1, []string{"nobody.invalid", "look-up"}},
		{"frames too small", []string{"-max", "63"}, 2, []string{"-max is 63", "64 to 16777216"}},
		{"frames too large", []string{"-max", "16777217"}, 2, []string{"-max is 16777217", "64 to 16777216"}},
		{"not a number", []string{"-max", "many"}, 2, []string{`"many"`, "-max"}},
		{"both", []string{"-to", free, "-addr", free}, 2, []string{"-to", "-addr", "the one or the other"}},
		{"unknown flag", []string{"-port", "7670"}, 2, []string{"-port", "-addr"}},
		{"argument", []string{"7670"}, 2, []string{`"7670"`, "-help"}},
		{"help", []string{"-help"}, 0, []string{"-addr", "-to", "-max", "-loops", "127.0.0.1:7670"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, stdout, stderr := program.Run(t, "", test.args...)
			assert.Equal(t, test.code, code)
			assert.Empty(t, stdout)
			for _, s := range test.says {
				assert.Contains(t, stderr, s)
			}
			assert.NotContains(t, stderr, "goroutine ", "a stack trace is no answer to a wrong setting")
		})
	}
}

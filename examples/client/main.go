// Command client sends frames to a server that sends back what it receives, such as examples/echo, and checks each.
//
// A frame is its length, 4 bytes, big-endian, and that many bytes. The client sends the next one when the one before
// has come back, and then closes in order.
package main

import (
	"bytes"
	"context"
	stdtls "crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/frame"
	"github.com/galago-go/galago/interceptor"
	"github.com/galago-go/galago/tls"
)

const (
	prefix  = 4
	maxSize = 32 << 10 // of a frame, in bytes: together with its length it must fit into conn.Config.MaxPending
	minSize = 8        // room for the number that tells one frame from the next

	startTimeout = 10 * time.Second // for the look-up, the connect and the handshake together
	idleTimeout  = 10 * time.Second // for an answer
)

var (
	errEarly  = errors.New("the server ended the connection too early")
	errSilent = fmt.Errorf("the server has not answered for %v", idleTimeout)
)

// client is one connection. Its callbacks come one at a time, so it needs no lock.
type client struct {
	actor.Base
	count, size int
	agreed      string // version and cipher suite of TLS; empty if there is none

	frame []byte // the one that is on its way, with its length
	back  int    // frames that came back
	done  chan error
}

// OnEvent hears what the handshake agreed on, before OnConnected.
func (cl *client) OnEvent(_ *conn.Conn, ev any) {
	if ev, ok := ev.(tls.Established); ok {
		state := ev.Layer.State()
		cl.agreed = stdtls.VersionName(state.Version) + ", " + stdtls.CipherSuiteName(state.CipherSuite)
	}
}

// OnConnected sends the first frame.
func (cl *client) OnConnected(c *conn.Conn) {
	cl.frame = frame.AppendPrefix(nil, prefix, cl.size)
	cl.frame = append(cl.frame, make([]byte, cl.size)...)
	for i := range cl.frame[prefix:] {
		cl.frame[prefix+i] = byte(i)
	}
	if err := cl.next(c); err != nil {
		c.Abort(err)
	}
}

// next sends a frame that differs from the one before; after the last one it closes.
func (cl *client) next(c *conn.Conn) error {
	if cl.back == cl.count {
		c.Close()
		return nil
	}
	binary.BigEndian.PutUint64(cl.frame[prefix:], uint64(cl.back))
	_, err := c.Send(cl.frame) // which keeps nothing of it
	return err
}

// OnReceived gets one frame, without its length.
func (cl *client) OnReceived(c *conn.Conn, data []byte) error {
	if cl.back == cl.count || !bytes.Equal(data, cl.frame[prefix:]) {
		return fmt.Errorf("frame %d, of %d bytes, is not what was sent", cl.back+1, len(data))
	}
	cl.back++
	return cl.next(c)
}

// OnIdle gives up a server that is silent.
func (cl *client) OnIdle(c *conn.Conn) { c.Abort(errSilent) }

// OnConnectFailed is the only callback if there is no connection.
func (cl *client) OnConnectFailed(_ *conn.Conn, err error) { cl.done <- err }

// OnClosed is the last callback.
func (cl *client) OnClosed(_ *conn.Conn, err error) {
	if err == nil && cl.back < cl.count {
		err = errEarly
	}
	cl.done <- err
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run returns the exit code: 0 if every frame came back, 1 if not, 2 if the client was called wrongly.
func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("client", flag.ContinueOnError)
	flags.SetOutput(stderr)
	to := flags.String("to", "localhost:7669", "`address` of the server, as HOST:PORT; HOST is a name or a number")
	count := flags.Int("count", 100, "`number` of frames")
	size := flags.Int("size", 64, fmt.Sprintf("`bytes` of a frame without its length, %d to %d", minSize, maxSize))
	var sec security
	flags.BoolVar(&sec.tls, "tls", false, "speak TLS; the server's certificate must be for HOST, and one that the system trusts")
	flags.StringVar(&sec.ca, "ca", "", "with -tls: `file` of certificates to trust in the place of the system's, in PEM")
	flags.BoolVar(&sec.insecure, "insecure", false, "with -tls: take any certificate, and so anybody for the server")
	if err := flags.Parse(args); err == flag.ErrHelp {
		return 0
	} else if err != nil {
		return 2
	}
	wrong := sec.wrong()
	switch {
	case flags.NArg() > 0:
		wrong = fmt.Sprintf("unexpected argument %q: all settings are flags, see client -help", flags.Arg(0))
	case *count < 1:
		wrong = fmt.Sprintf("-count is %d: it must be 1 or more", *count)
	case *size < minSize || *size > maxSize:
		wrong = fmt.Sprintf("-size is %d: it must be %d to %d", *size, minSize, maxSize)
	}
	if wrong != "" {
		fmt.Fprintf(stderr, "client: %s\n", wrong)
		return 2
	}
	cl := &client{count: *count, size: *size, done: make(chan error, 1)}
	layers, err := sec.layers()
	began := time.Now()
	if err == nil {
		err = cl.exchange(*to, layers)
	}
	if err != nil {
		fmt.Fprintf(stderr, "client: %v (-to %q; %d of %d frames came back)\n", err, *to, cl.back, *count)
		return 1
	}
	through := ""
	if cl.agreed != "" {
		through = " (" + cl.agreed + ")"
	}
	fmt.Fprintf(stdout, "%d frames of %d bytes came back from %s%s in %v\n", cl.back, *size, *to, through,
		time.Since(began).Round(time.Microsecond))
	return 0
}

// security is what the flags say of TLS.
type security struct {
	tls, insecure bool
	ca            string
}

func (s *security) wrong() string {
	switch {
	case !s.tls && (s.insecure || s.ca != ""):
		return "-ca and -insecure are about TLS: say -tls, too" // nobody who asks for it gets clear text
	case s.insecure && s.ca != "":
		return "-insecure trusts everybody, so -ca means nothing: leave one of them out"
	}
	return ""
}

// layers are what the connection has between itself and the socket. The host as dialed is the name that the server's
// certificate must have.
func (s *security) layers() ([]interceptor.Factory, error) {
	if !s.tls {
		return nil, nil
	}
	cfg := &tls.Config{InsecureSkipVerify: s.insecure}
	if s.ca != "" {
		text, err := os.ReadFile(s.ca)
		if err != nil {
			return nil, err
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("-ca %s: there is no certificate in PEM in it", s.ca)
		}
	}
	return []interceptor.Factory{tls.Client(cfg)}, nil
}

// exchange connects, and returns when the connection has ended, and the network with it.
func (cl *client) exchange(to string, layers []interceptor.Factory) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	network, err := actor.New(nil, actor.Config{Loops: 1})
	if err != nil {
		return err
	}
	_, err = network.Dial(ctx, to, cl, actor.DialConfig{Conn: conn.Config{
		Layers:       layers,
		Split:        frame.Prefixed(prefix, maxSize),
		StartTimeout: startTimeout,
		IdleTimeout:  idleTimeout,
	}})
	if err != nil {
		return errors.Join(err, shutdown(network))
	}
	select {
	case err = <-cl.done:
		return errors.Join(err, shutdown(network))
	case <-ctx.Done():
		err = shutdown(network) // which closes the connection
		<-cl.done
		return errors.Join(errors.New("interrupted"), err)
	}
}

func shutdown(network *actor.Network) error {
	ctx, cancel := context.WithTimeout(context.Background(), idleTimeout)
	defer cancel()
	_, _, err := network.Shutdown(ctx)
	return err
}

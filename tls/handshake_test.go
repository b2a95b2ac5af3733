package tls_test

import (
	"bytes"
	stdtls "crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor"
	"github.com/galago-go/galago/tls"
)

// failed waits for OnConnectFailed, and returns what it was told.
func (k *talk) failed() (*conn.ConnectError, *tls.HandshakeError) {
	k.t.Helper()
	k.done()
	assert.Equal(k.t, 1, k.count("OnConnectFailed"))
	assert.Equal(k.t, 1, len(k.calls)-k.count("OnEvent"), "nothing else: %q", k.calls)
	var connect *conn.ConnectError
	require.ErrorAs(k.t, k.ends.failed, &connect)
	var shake *tls.HandshakeError
	if errors.As(connect, &shake) {
		return connect, shake
	}
	return connect, nil
}

// says is a peer's part that is not TLS.
func says(words string) func(nc net.Conn) error {
	return func(nc net.Conn) error {
		_, err := io.WriteString(nc, words)
		return err
	}
}

func TestTLS2_WhatIsNotTLS(t *testing.T) {
	server, client := versions[1].configs(t)
	hello := helloOf(t, client)
	long := []byte(hello)
	long[3], long[4] = 0xff, 0xff
	old := []byte(hello)
	old[1] = 0x20
	for name, x := range map[string]struct {
		words string
		says  string
	}{
		"ten X":              {"XXXXXXXXXX", `the peer does not speak TLS, its first bytes are "XXXXX"`},
		"HTTP":               {"GET / HTTP/1.0\r\n\r\n", "the peer speaks plain HTTP, not TLS"},
		"SMTP":               {"220 mail.example ESMTP\r\n", `the peer does not speak TLS, its first bytes are "220 m"`},
		"HTTP's answer":      {"HTTP/1.1 400 Bad Request\r\n", "the peer speaks plain HTTP, not TLS"},
		"SSLv2":              {"\x80\x2e\x01\x00\x02" + strings.Repeat("x", 40), "SSLv2"},
		"an oversized one":   {string(long), "oversized record received with length 65535"},
		"a strange version":  {string(old), "does not look like a TLS handshake"},
		"data first":         {"\x17\x03\x03\x00\x04data", "does not look like a TLS handshake"},
		"an alert":           {"\x15\x03\x01\x00\x02\x02\x28", "handshake failure"},
		"a huge message":     {"\x16\x03\x01\x00\x04\x01\xff\xff\xff", "exceeds maximum"},
		"an unknown message": {"\x16\x03\x01\x00\x04\x63\x00\x00\x00", "unexpected message"},
		"an empty record":    {"\x16\x03\x01\x00\x00", "unexpected message"},
		"truncated":          {hello[:len(hello)/2], "the peer ended during the handshake"},
		"a header":           {"\x16\x03\x01", "the peer ended during the handshake"},
		"nothing":            {"", "the peer ended during the handshake"},
	} {
		for _, as := range []role{asServer, asClient} {
			t.Run(name+" to the "+string(as), func(t *testing.T) {
				noLeak(t)
				p := playWith(as, server, client, nil)
				p.peer = says(x.words)
				k := p.begin(t)
				connect, shake := k.failed()
				assert.Equal(t, conn.StageHandshake, connect.Stage)
				require.NotNil(t, shake, "%v", connect)
				assert.False(t, shake.Auth)
				if as == asServer || name != "a huge message" { // a client allows more
					assert.ErrorContains(t, shake, x.says)
				}
				if strings.HasPrefix(x.says, "the peer ended") {
					assert.ErrorIs(t, shake, io.ErrUnexpectedEOF)
				}
				var header stdtls.RecordHeaderError
				if errors.As(shake, &header) {
					assert.Nil(t, header.Conn, "nobody shall write to it")
				}
			})
		}
	}
}

// helloOf is the first flight of a client.
func helloOf(t testing.TB, cfg *tls.Config) string {
	t.Helper()
	c := &recording{}
	_ = stdtls.Client(c, cfg).Handshake()
	return c.String()
}

// recording is a net.Conn that keeps what is written, and has nothing to read.
type recording struct {
	net.Conn
	bytes.Buffer
}

func (r *recording) Read([]byte) (int, error)         { return 0, io.EOF }
func (r *recording) Write(p []byte) (int, error)      { return r.Buffer.Write(p) }
func (r *recording) Close() error                     { return nil }
func (r *recording) SetWriteDeadline(time.Time) error { return nil }

// A client that says nothing, or half of what it must, has neither a goroutine nor a place in the pool; and StartTimeout
// ends it.
func TestTLS3_ASilentClientCostsNothing(t *testing.T) {
	noLeak(t)
	server, client := versions[1].configs(t)
	hello := helloOf(t, client)
	pool := tls.NewPool(1)
	before := runtime.NumGoroutine()
	var silent []*talk
	for _, said := range []string{"", hello[:3], hello[:5], hello[:len(hello)-1]} {
		p := play{layer: tls.Server(server, tls.WithPool(pool), tls.MaxHandshakes(1)), conn: conn.Config{StartTimeout: 300 * time.Millisecond}}
		p.peer = func(nc net.Conn) error {
			_, _ = io.WriteString(nc, said)
			_, err := io.Copy(io.Discard, nc)
			return err
		}
		k := p.begin(t)
		k.until("what it says", func() bool { return k.fed == len(said) })
		silent = append(silent, k)
	}
	soon(t, func() bool { return runtime.NumGoroutine() <= before+len(silent) }, "only the peers have goroutines")
	p := playWith(asServer, server, client, nil)
	p.layer = tls.Server(server, tls.WithPool(pool), tls.MaxHandshakes(1))
	p.begin(t).connected()
	for _, k := range silent {
		k.Do(func(c *conn.Conn) {
			assert.False(t, c.IsWriteable())
			_, err := c.Send(nil)
			assert.Equal(t, conn.ErrNotReady, err)
		})
		k.Advance(299 * time.Millisecond)
		assert.False(t, k.Done())
		k.Advance(time.Millisecond)
		connect, _ := k.failed()
		assert.Equal(t, conn.StageTimeout, connect.Stage)
	}
}

func TestTLS3_ASilentServer(t *testing.T) {
	noLeak(t)
	_, client := versions[1].configs(t)
	p := play{layer: tls.Client(client), conn: conn.Config{StartTimeout: time.Second}}
	k := p.begin(t)
	k.until("a hello", func() bool { return k.Conn().Stats().BytesWritten > 0 })
	k.Advance(time.Second)
	connect, _ := k.failed()
	assert.Equal(t, conn.StageTimeout, connect.Stage)
}

// soon waits until cond holds.
func soon(t testing.TB, cond func() bool, what string) {
	t.Helper()
	for end := time.Now().Add(patience); !cond(); runtime.Gosched() {
		if time.Now().After(end) {
			require.FailNow(t, "waited for: "+what)
		}
	}
}

// verdict is what a handshake that fails is told on our side.
type verdict struct {
	auth   bool
	alert  tls.AlertError
	remote bool
}

func (k *talk) judged(want verdict) *tls.HandshakeError {
	k.t.Helper()
	connect, shake := k.failed()
	assert.Equal(k.t, conn.StageHandshake, connect.Stage)
	assert.NotEmpty(k.t, connect.Addr)
	require.NotNil(k.t, shake)
	assert.Equal(k.t, want, verdict{shake.Auth, shake.Alert, shake.Remote}, "%v", shake)
	var alert tls.AlertError
	if want.alert != 0 && assert.ErrorAs(k.t, connect, &alert) {
		assert.Equal(k.t, want.alert, alert)
		assert.Contains(k.t, connect.Error(), strings.TrimPrefix(alert.Error(), "tls: "))
	}
	return shake
}

func TestTLS4_WhoThePeerIs(t *testing.T) {
	for _, v := range versions {
		server, client := v.configs(t)
		wrong := client.Clone()
		wrong.ServerName = "not.localhost"
		stranger := client.Clone()
		stranger.RootCAs = x509.NewCertPool()
		late := client.Clone()
		late.Time = func() time.Time { return time.Now().Add(1000 * time.Hour) }
		own := client.Clone()
		own.VerifyConnection = func(stdtls.ConnectionState) error { return errors.New("I do not like it") }
		demanding := server.Clone()
		demanding.ClientAuth = stdtls.RequireAnyClientCert
		checking := server.Clone()
		checking.ClientAuth, checking.ClientCAs = stdtls.RequireAndVerifyClientCert, x509.NewCertPool()
		bearer := client.Clone()
		bearer.Certificates = []tls.Certificate{certificate(t)}

		missing := tls.AlertError(40) // handshake_failure; TLS 1.3 has a word for it
		if v.number == stdtls.VersionTLS13 {
			missing = 116
		}
		for name, x := range map[string]struct {
			server, client *tls.Config
			asServer       *verdict
			asClient       *verdict
			as             any // errors.As finds it on the side that checks
		}{
			"another name": {server, wrong, &verdict{true, 42, true}, &verdict{true, 42, false}, new(x509.HostnameError)},
			"an unknown authority": {server, stranger, &verdict{true, 42, true}, &verdict{true, 42, false},
				new(x509.UnknownAuthorityError)},
			"expired":           {server, late, &verdict{true, 42, true}, &verdict{true, 42, false}, new(x509.CertificateInvalidError)},
			"VerifyConnection":  {server, own, &verdict{true, 42, true}, &verdict{true, 42, false}, nil},
			"no certificate":    {demanding, client, &verdict{true, missing, false}, &verdict{missing == 116, missing, true}, nil},
			"a foreign one":     {checking, bearer, &verdict{true, 48, false}, &verdict{true, 48, true}, new(x509.UnknownAuthorityError)},
			"another protocol":  {withALPN(server, "a"), withALPN(client, "b"), &verdict{false, 120, false}, &verdict{false, 120, true}, nil},
			"no common version": {onlyOther(server, v), client, &verdict{false, 70, false}, &verdict{false, 70, true}, nil},
		} {
			t.Run(v.name+" "+name, func(t *testing.T) {
				noLeak(t)
				k := playWith(asServer, x.server, x.client, nil).begin(t)
				shake := k.judged(*x.asServer)
				if x.as != nil && !x.asServer.remote {
					assert.ErrorAs(t, shake, x.as)
				}
				k = playWith(asClient, x.server, x.client, nil).begin(t)
				if v.number == stdtls.VersionTLS13 && x.asClient.remote && x.server.ClientAuth != 0 {
					// The client is done before the server has judged it.
					k.done()
					assert.True(t, k.has("OnConnected"))
					var broken *tls.RecordError
					require.ErrorAs(t, k.ends.closed, &broken)
					assert.Equal(t, x.asClient.alert, broken.Alert)
					assert.True(t, broken.Remote)
					return
				}
				shake = k.judged(*x.asClient)
				if x.as != nil && !x.asClient.remote {
					assert.ErrorAs(t, shake, x.as)
				}
			})
		}
	}
}

func withALPN(cfg *tls.Config, names ...string) *tls.Config {
	cfg = cfg.Clone()
	cfg.NextProtos = names
	return cfg
}

// onlyOther has a version that is not v.
func onlyOther(cfg *tls.Config, v version) *tls.Config {
	cfg = cfg.Clone()
	other := stdtls.VersionTLS12 + stdtls.VersionTLS13 - v.number
	cfg.MinVersion, cfg.MaxVersion = other, other
	return cfg
}

func TestTLS5_WhatWasAgreedOn(t *testing.T) {
	each(t, func(t *testing.T, v version, as role) {
		server, client := v.configs(t)
		server, client = withALPN(server, "h2"), withALPN(client, "h2", "http/1.1")
		client.ClientSessionCache = stdtls.NewLRUClientSessionCache(1)
		var log syncBuffer
		server.KeyLogWriter, client.KeyLogWriter = &log, &log
		for _, again := range []bool{false, true} {
			k := playWith(as, server, client, nil).begin(t)
			k.connected()
			k.Do(func(c *conn.Conn) {
				_, err := c.Send([]byte("at once"))
				assert.NoError(t, err)
			})
			k.until("its outcome", func() bool { return k.has("OnSent 1") })
			require.Len(t, k.ends.events, 1)
			state := k.ends.events[0].(tls.Established).Layer.State()
			assert.Equal(t, v.number, state.Version)
			assert.NotZero(t, state.CipherSuite)
			assert.Equal(t, "localhost", state.ServerName)
			assert.Equal(t, "h2", state.NegotiatedProtocol)
			assert.Equal(t, again, state.DidResume)
			k.settle() // the ticket
			k.Do((*conn.Conn).Close)
			k.done()
			assert.NoError(t, k.ends.closed)
		}
		assert.Contains(t, log.String(), "CLIENT")
	})
}

type syncBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func TestTLS5_CertificatesByNameAndOfClients(t *testing.T) {
	for _, v := range versions {
		server, client := v.configs(t)
		mine := certificate(t)
		client.Certificates = []tls.Certificate{mine}
		inner := server.Clone()
		inner.ClientAuth, inner.ClientCAs = stdtls.RequireAndVerifyClientCert, trusting(t, mine)
		own := server.Certificates[0]
		inner.Certificates = nil
		var asked, from string
		inner.GetCertificate = func(hello *stdtls.ClientHelloInfo) (*stdtls.Certificate, error) {
			asked, from = hello.ServerName, hello.Conn.RemoteAddr().String()
			assert.NotNil(t, hello.Conn.LocalAddr())
			return &own, nil
		}
		outer := &tls.Config{GetConfigForClient: func(*stdtls.ClientHelloInfo) (*stdtls.Config, error) { return inner, nil }}
		k := playWith(asServer, outer, client, nil).begin(t)
		k.connected()
		assert.Equal(t, "localhost", asked)
		assert.Equal(t, "198.51.100.7:49152", from)
		layer, _ := interceptor.Find[*tls.Layer](k.Conn().Layers())
		require.Len(t, layer.State().PeerCertificates, 1)
		assert.Equal(t, mine.Certificate[0], layer.State().PeerCertificates[0].Raw)
	}
}

// The name that a client asks for, and checks, is the host as dialed, unless the Config has one.
func TestTheNameOfTheServer(t *testing.T) {
	server, client := versions[1].configs(t)
	for host, x := range map[string]struct{ configured, sni, fails string }{
		"localhost":    {sni: "localhost"},
		"127.0.0.1":    {}, // numbers are checked, and not sent
		"::1%lo":       {fails: "x509"},
		"elsewhere":    {fails: "elsewhere"},
		"elsewhere.":   {configured: "localhost", sni: "localhost"},
		"LOCALHOST":    {sni: "LOCALHOST"},
		"":             {fails: "either ServerName or InsecureSkipVerify must be specified"},
		"198.51.100.7": {fails: "198.51.100.7"},
	} {
		t.Run(host, func(t *testing.T) {
			cfg := client.Clone()
			cfg.ServerName = x.configured
			for range 2 { // the second one finds the copy of the first
				sni := ""
				asking := server.Clone()
				asking.GetConfigForClient = func(hello *stdtls.ClientHelloInfo) (*stdtls.Config, error) {
					sni = hello.ServerName
					return nil, nil
				}
				p := playWith(asClient, asking, cfg, nil)
				p.opts = append(p.opts, withHost(host))
				k := p.begin(t)
				if x.fails != "" {
					_, shake := k.failed()
					require.NotNil(t, shake)
					assert.ErrorContains(t, shake, x.fails)
					continue
				}
				k.connected()
				k.Do((*conn.Conn).Close)
				k.part()
				assert.Equal(t, x.sni, sni)
			}
			assert.Equal(t, x.configured, cfg.ServerName, "the Config is as it was")
		})
	}
}

// The last flight, a request, the goodbye and the end may come together.
func TestAllThatAClientSaysAtOnce(t *testing.T) {
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			p := v.play(t, asServer, func(c *stdtls.Conn) error {
				return errors.Join(writes("request")(c), c.CloseWrite(), c.NetConn().Close(), readToEnd(c))
			})
			k := p.begin(t)
			k.done()
			assert.Equal(t, "request", k.rec.Received())
			assert.Equal(t, []string{"OnConnected", `OnReceived "request"`, "OnEOF", "OnClosed"}, k.calls[1:])
		})
	}
}

// A record with a whole message and the beginning of nothing is no reason to wait.
func TestAHelloInManyRecords(t *testing.T) {
	server, client := versions[1].configs(t)
	for _, size := range []int{1, 3, 7, 100} {
		p := playWith(asServer, server, client, nil)
		p.peer = func(nc net.Conn) error {
			c := stdtls.Client(&shredder{Conn: nc, size: size}, client)
			if err := c.Handshake(); err != nil {
				return err
			}
			return readToEnd(c)
		}
		k := p.begin(t)
		k.connected()
		k.Do((*conn.Conn).Close)
		k.part()
	}
}

// A shredder sends the first record as many, each with size bytes of it.
type shredder struct {
	net.Conn
	size int
	over bool
}

func (s *shredder) Write(p []byte) (int, error) {
	if s.over {
		return s.Conn.Write(p)
	}
	s.over = true
	for body := p[5:]; len(body) > 0; {
		n := min(len(body), s.size)
		record := append([]byte{p[0], p[1], p[2], 0, byte(n)}, body[:n]...)
		if _, err := s.Conn.Write(record); err != nil {
			return 0, err
		}
		body = body[n:]
	}
	return len(p), nil
}

func TestWrongConfigs(t *testing.T) {
	assert.PanicsWithValue(t, "tls: Server(nil): it needs a Config", func() { tls.Server(nil) })
	assert.PanicsWithValue(t, "tls: Client(nil): it needs a Config", func() { tls.Client(nil) })
	assert.PanicsWithValue(t, "tls: MaxHandshakes(0): it must be 1 or more", func() { tls.MaxHandshakes(0) })
	assert.PanicsWithValue(t, "tls: NewPool(0): it must be 1 or more", func() { tls.NewPool(0) })
	assert.PanicsWithValue(t, "tls: WithPool(nil): the pool must come from NewPool", func() { tls.WithPool(nil) })
	for says, layer := range map[string]interceptor.Factory{
		"set Certificates, GetCertificate or GetConfigForClient": tls.Server(&tls.Config{}),
		"Config.Renegotiation must be RenegotiateNever": tls.Client(&tls.Config{ServerName: "x",
			Renegotiation: stdtls.RenegotiateOnceAsClient}),
	} {
		k := play{layer: layer}.begin(t)
		_, shake := k.failed()
		require.NotNil(t, shake)
		assert.ErrorContains(t, shake, says)
	}
}

// What a callback of the Config does wrong is the connection's failure, in its turn, with the stack of who did it.
func TestACallbackThatFails(t *testing.T) {
	for name, fail := range map[string]func(){
		"panic":  func() { thisCallbackPanics() },
		"Goexit": runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			noLeak(t)
			server, client := versions[1].configs(t)
			failing := server.Clone()
			failing.GetCertificate = func(*stdtls.ClientHelloInfo) (*stdtls.Certificate, error) {
				fail()
				return nil, nil
			}
			failing.Certificates = nil
			k := playWith(asServer, failing, client, nil).begin(t)
			value := func() (value any) {
				defer func() { value = recover() }()
				k.until("a panic", func() bool { return false })
				return nil
			}()
			carried, ok := value.(*interceptor.Panic)
			require.True(t, ok, "%v", value)
			if name == "panic" {
				assert.Equal(t, "no certificate today", carried.Value)
				assert.Contains(t, string(carried.Stack), "thisCallbackPanics")
			} else {
				assert.ErrorContains(t, carried.Value.(error), "runtime.Goexit")
			}
			k.Feed("what comes later") // to an owner whose supervisor said: resume
			assert.False(t, k.has("OnConnected"))
		})
	}
}

//go:noinline
func thisCallbackPanics() { panic("no certificate today") }

// A callback may wait; the end of the connection tells it, and nothing of the handshake is left.
func TestACallbackThatWaits(t *testing.T) {
	noLeak(t)
	server, client := versions[1].configs(t)
	waiting := make(chan struct{})
	slow := server.Clone()
	slow.GetConfigForClient = func(hello *stdtls.ClientHelloInfo) (*stdtls.Config, error) {
		waiting <- struct{}{}
		<-hello.Context().Done()
		return nil, hello.Context().Err()
	}
	k := playWith(asServer, slow, client, nil).begin(t)
	k.until("the hello", func() bool { return k.fed > 0 })
	<-waiting
	k.FeedEOF()
	k.Advance(time.Second)
	assert.False(t, k.Done(), "the handshake may have all that it needs")
	k.Advance(time.Hour)
	connect, _ := k.failed()
	assert.Equal(t, conn.StageTimeout, connect.Stage)
}

// The ways out of a handshake, at each of its stages, leave nothing.
func TestEveryWayOutOfAHandshake(t *testing.T) {
	ways := map[string]func(k *talk){
		"close":   func(k *talk) { k.Do((*conn.Conn).Close) },
		"abort":   func(k *talk) { k.Do(func(c *conn.Conn) { c.Abort(nil) }) },
		"reset":   func(k *talk) { k.Reset() },
		"timeout": func(k *talk) { k.Advance(time.Hour) },
		"end":     func(k *talk) { k.FeedEOF() },
	}
	each(t, func(t *testing.T, v version, as role) {
		for name, out := range ways {
			for stage := range 4 {
				t.Run(fmt.Sprint(name, stage), func(t *testing.T) {
					noLeak(t)
					k := v.play(t, as, nil).begin(t)
					for range stage { // so many times bytes are carried, or a little earlier
						k.Await(time.Millisecond, func() bool { return false })
						k.step()
					}
					out(k)
					if name == "end" && !k.Done() {
						k.Await(patience, k.Done)
					}
					k.Settle()
					if name != "timeout" || !k.has("OnConnected") {
						k.Advance(time.Hour) // for the peer's end
						assert.True(t, k.Done())
					}
				})
			}
		}
	})
}

// Nobody hears of a handshake that ends behind a Close, nor of what comes then.
func TestCloseWhileUpgrading(t *testing.T) {
	noLeak(t)
	server, client := versions[1].configs(t)
	p := playWith(asServer, server, client, nil)
	layer := p.layer
	p.layer = nil
	k := p.begin(t)
	k.Do(func(c *conn.Conn) {
		require.NoError(t, c.Upgrade(layer))
		c.Close()
	})
	k.step()
	for range 100 {
		k.Feed(strings.Repeat("\x16\x03\x01\x40\x00", 1000))
	}
	k.Settle()
	k.Advance(time.Hour)
	k.done()
	assert.False(t, k.has("OnEvent"))
	assert.False(t, k.has("OnReceived"))
}

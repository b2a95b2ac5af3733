package tls

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A Reloader has a certificate and its key as they are in two files, and looks now and then whether those have changed.
// New handshakes use the new pair; open connections go on with what they have. A pair that is bad is not used: the last
// good one stays.
//
//	r, err := tls.NewReloader(tls.ReloaderConfig{CertFile: "cert.pem", KeyFile: "key.pem"})
//	...
//	layer := tls.Server(&tls.Config{GetCertificate: r.GetCertificate})
//
// The files may be written in place, renamed, or reached through symbolic links that are swapped. Whoever writes one and
// then the other leaves a pair that does not match for a moment: a bad pair is reported only if it is the same at the
// next look.
type Reloader struct {
	cfg  ReloaderConfig
	good atomic.Pointer[tls.Certificate]

	mu    sync.Mutex // held by whoever looks; guards what follows
	used  pair       // what the files held when the good pair was read
	tried pair       // ... at the last look
	bad   error      // what is wrong with that; nil if nothing is
	told  bool       // ... and it was reported

	closed sync.Once
	stop   chan struct{}
	done   chan struct{}
}

// ReloaderConfig sets up a Reloader.
type ReloaderConfig struct {
	CertFile string // the certificate and those that it rests on, in PEM
	KeyFile  string // its key, in PEM; it may be the same file
	// Interval is the time between two looks at the files; if zero, 10 s. Each look reads both.
	Interval time.Duration
	// OnReload, if not nil, is called when a new pair is used, with nil, and when one is bad, with a [*ReloadError]. It
	// runs on the Reloader's goroutine, or in Reload, and must call neither Reload nor Close.
	OnReload func(err error)
	Logger   *slog.Logger // gets a record each time that OnReload would be called; if nil, slog.Default
}

const reloadInterval = 10 * time.Second

// A ReloadError says what is wrong with a certificate and its key.
type ReloadError struct {
	File string // the file that is to blame; both, if they do not match
	Err  error
}

// Error names the file.
func (e *ReloadError) Error() string { return fmt.Sprintf("tls: %s: %v", e.File, e.Err) }

// Unwrap returns what reading or parsing the file met.
func (e *ReloadError) Unwrap() error { return e.Err }

// pair is what two files hold, or why they cannot be read.
type pair struct {
	cert, key []byte
	err       string
}

func (p pair) equals(q pair) bool {
	return bytes.Equal(p.cert, q.cert) && bytes.Equal(p.key, q.key) && p.err == q.err
}

// NewReloader reads the files and begins to look after them, on a goroutine that Close ends. If the pair is bad it
// returns a [*ReloadError].
func NewReloader(cfg ReloaderConfig) (*Reloader, error) {
	if cfg.Interval < 0 {
		return nil, fmt.Errorf("tls: ReloaderConfig.Interval is %v: it must be 0 (for %v) or the time between two looks",
			cfg.Interval, reloadInterval)
	}
	if cfg.Interval == 0 {
		cfg.Interval = reloadInterval
	}
	r := &Reloader{cfg: cfg, stop: make(chan struct{}), done: make(chan struct{})}
	cert, _, err := r.load()
	if err != nil {
		return nil, err
	}
	r.used = r.tried
	r.good.Store(cert)
	go r.run()
	return r, nil
}

// GetCertificate returns the last good pair. It is made for Config.GetCertificate.
func (r *Reloader) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return r.good.Load(), nil
}

// GetClientCertificate returns the last good pair, too. It is made for Config.GetClientCertificate.
func (r *Reloader) GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return r.good.Load(), nil
}

// Reload looks at the files now, as after SIGHUP, and returns a [*ReloadError] if they hold a bad pair. Any goroutine
// may call it, also after Close.
func (r *Reloader) Reload() error { return r.look(true) }

// Close ends the looking, and returns when nothing of it is left. The last good pair stays.
func (r *Reloader) Close() error {
	r.closed.Do(func() { close(r.stop) })
	<-r.done
	return nil
}

func (r *Reloader) run() {
	defer close(r.done)
	ticker := time.NewTicker(r.cfg.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-ticker.C:
			_ = r.look(false)
		}
	}
}

// look uses the pair that the files hold, if it is a new one, and reports that. A bad one it reports once: now, or else
// if it is as it was at the last look.
func (r *Reloader) look(now bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.tried
	cert, found, err := r.load()
	same := found.equals(before)
	if !same {
		r.told = false
	}
	switch {
	case err != nil:
		if (same || now) && !r.told {
			r.told = true
			r.report(err)
		}
	case !found.equals(r.used):
		r.used = found
		r.good.Store(cert)
		r.report(nil)
	}
	return err
}

// load reads and parses the files. If they hold what they held before, it does not parse again.
func (r *Reloader) load() (cert *tls.Certificate, found pair, err error) {
	found, err = r.read()
	if !found.equals(r.tried) || r.good.Load() == nil {
		if err == nil {
			cert, err = r.parse(found)
		}
		r.tried, r.bad = found, err
	}
	return cert, found, r.bad
}

func (r *Reloader) read() (p pair, err error) {
	for _, f := range []struct {
		name string
		to   *[]byte
	}{{r.cfg.CertFile, &p.cert}, {r.cfg.KeyFile, &p.key}} {
		if *f.to, err = os.ReadFile(f.name); err != nil {
			var where *os.PathError
			if errors.As(err, &where) {
				err = fmt.Errorf("%s: %w", where.Op, where.Err) // the name stands before it
			}
			err = &ReloadError{f.name, err}
			return pair{err: err.Error()}, err
		}
	}
	return p, nil
}

func (r *Reloader) parse(p pair) (*tls.Certificate, error) {
	for rest, found := p.cert, false; ; found = true {
		var block *pem.Block
		for block, rest = pem.Decode(rest); block != nil && block.Type != "CERTIFICATE"; block, rest = pem.Decode(rest) {
		}
		if block == nil && !found {
			return nil, &ReloadError{r.cfg.CertFile, errors.New("there is no certificate in PEM in it")}
		}
		if block == nil {
			break
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return nil, &ReloadError{r.cfg.CertFile, err}
		}
	}
	cert, err := tls.X509KeyPair(p.cert, p.key)
	if err == nil && cert.Leaf == nil { // GODEBUG says so
		cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0])
	}
	if err == nil {
		return &cert, nil
	}
	if !hasKey(p.key) {
		return nil, &ReloadError{r.cfg.KeyFile, err}
	}
	return nil, &ReloadError{r.cfg.CertFile + ", " + r.cfg.KeyFile, err}
}

// hasKey reports whether there is a private key in p, so that it is the match that fails.
func hasKey(p []byte) bool {
	for block, rest := pem.Decode(p); block != nil; block, rest = pem.Decode(rest) {
		if _, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			return true
		}
		if _, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
			return true
		}
		if _, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
			return true
		}
	}
	return false
}

func (r *Reloader) report(err error) {
	log := r.cfg.Logger
	if log == nil {
		log = slog.Default()
	}
	if err != nil {
		log.Error("tls: a new certificate is bad; the last good one stays", "file", err.(*ReloadError).File, "err", err)
	} else {
		cert := r.good.Load()
		log.Info("tls: a new certificate is used", "file", r.cfg.CertFile, "subject", cert.Leaf.Subject.String(),
			"expires", cert.Leaf.NotAfter)
	}
	if r.cfg.OnReload != nil {
		r.cfg.OnReload(err)
	}
}

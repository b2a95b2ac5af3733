package tls

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A files is a certificate and its key in a directory, and a Reloader that looks when the test says so.
type files struct {
	*Reloader
	t         *testing.T
	dir       string
	cert, key string
	told      []error
	log       bytes.Buffer
}

// pemPair makes a certificate for name.
func pemPair(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	require.NoError(t, err)
	pkcs, err := x509.MarshalPKCS8PrivateKey(k)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs})
}

func (f *files) write(name string, data []byte) {
	f.t.Helper()
	require.NoError(f.t, os.WriteFile(name, data, 0o600))
}

// put writes a pair for name in place.
func (f *files) put(name string) {
	f.t.Helper()
	cert, key := pemPair(f.t, name)
	f.write(f.cert, cert)
	f.write(f.key, key)
}

// newFiles begins with a pair for "first".
func newFiles(t *testing.T) *files {
	t.Helper()
	f := &files{t: t, dir: t.TempDir()}
	f.cert, f.key = filepath.Join(f.dir, "cert.pem"), filepath.Join(f.dir, "key.pem")
	f.put("first")
	f.open()
	return f
}

func (f *files) open() {
	f.t.Helper()
	r, err := NewReloader(ReloaderConfig{
		CertFile: f.cert, KeyFile: f.key, Interval: time.Hour,
		OnReload: func(err error) { f.told = append(f.told, err) },
		Logger:   slog.New(slog.NewTextHandler(&f.log, nil)),
	})
	require.NoError(f.t, err)
	f.Reloader = r
	f.t.Cleanup(func() { assert.NoError(f.t, r.Close()) })
}

// name is that of the certificate in use.
func (f *files) name() string {
	f.t.Helper()
	cert, err := f.GetCertificate(nil)
	require.NoError(f.t, err)
	client, err := f.GetClientCertificate(nil)
	require.NoError(f.t, err)
	assert.Same(f.t, cert, client)
	return cert.Leaf.Subject.CommonName
}

// looks has it look n times.
func (f *files) looks(n int) {
	for range n {
		_ = f.look(false)
	}
}

// logged returns how many records there are, and forgets them.
func (f *files) logged(level string) int {
	defer f.log.Reset()
	return strings.Count(f.log.String(), "level="+level)
}

func TestTLS17_ANewPairIsUsed(t *testing.T) {
	f := newFiles(t)
	f.put("second")
	f.looks(1)
	assert.Equal(t, "second", f.name())
	assert.Equal(t, []error{nil}, f.told)
	assert.Contains(t, f.log.String(), "CN=second")
	f.looks(3)
	assert.Len(t, f.told, 1, "nothing has changed since")
}

// Each of these leaves the last good pair, and is told once: at the second look, or at once by Reload.
func TestTLS17_ABadPairLeavesTheLastGoodOne(t *testing.T) {
	other, otherKey := pemPair(t, "other")
	broken := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("broken")})
	for name, bad := range map[string]struct {
		do   func(f *files)
		file string // which is named
		says string
	}{
		"garbage in the certificate's file": {func(f *files) { f.write(f.cert, []byte("garbage")) }, "cert.pem", "no certificate in PEM"},
		"a certificate that is none":        {func(f *files) { f.write(f.cert, broken) }, "cert.pem", "x509"},
		"a second one that is none":         {func(f *files) { f.write(f.cert, append(other, broken...)) }, "cert.pem", "x509"},
		"garbage in the key's file":         {func(f *files) { f.write(f.key, []byte("garbage")) }, "key.pem", "key input"},
		"an empty certificate":              {func(f *files) { f.write(f.cert, nil) }, "cert.pem", "no certificate in PEM"},
		"a key without its certificate":     {func(f *files) { f.write(f.key, otherKey) }, "cert.pem, ", "does not match"},
		"a certificate without its key":     {func(f *files) { f.write(f.cert, other) }, "key.pem", "does not match"},
		"the certificate is gone":           {func(f *files) { assert.NoError(f.t, os.Remove(f.cert)) }, "cert.pem", "no such file"},
		"the key is a directory": {func(f *files) {
			assert.NoError(f.t, os.Remove(f.key))
			assert.NoError(f.t, os.Mkdir(f.key, 0o700))
		}, "key.pem", "is a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFiles(t)
			bad.do(f)
			f.looks(1)
			assert.Empty(t, f.told, "it may be half written")
			f.looks(3)
			require.Len(t, f.told, 1)
			var e *ReloadError
			require.ErrorAs(t, f.told[0], &e)
			assert.Contains(t, e.File, bad.file)
			assert.ErrorContains(t, e, bad.says)
			assert.Contains(t, f.log.String(), bad.file)
			assert.Contains(t, f.log.String(), bad.says)
			assert.Equal(t, 1, f.logged("ERROR"))
			assert.Equal(t, "first", f.name())
			assert.ErrorAs(t, f.Reload(), &e)
			assert.Len(t, f.told, 1, "it was told")

			_ = os.Remove(f.key)
			f.put("better")
			f.looks(1)
			assert.Equal(t, "better", f.name())
			assert.Equal(t, []error{e, nil}, f.told)
		})
	}
}

func TestTLS17_ReloadLooksAtOnce(t *testing.T) {
	f := newFiles(t)
	assert.NoError(t, f.Reload())
	assert.Empty(t, f.told)
	f.put("second")
	assert.NoError(t, f.Reload())
	assert.Equal(t, "second", f.name())
	f.write(f.cert, nil)
	var e *ReloadError
	assert.ErrorAs(t, f.Reload(), &e)
	assert.Len(t, f.told, 2, "nobody needs to look again")
	assert.NoError(t, os.Remove(f.cert))
	assert.ErrorIs(t, f.Reload(), fs.ErrNotExist)
	assert.Len(t, f.told, 3, "it is bad in another way")
}

// Between the certificate and its key there is a moment in which they do not match.
func TestTLS17_BetweenTheTwoFiles(t *testing.T) {
	f := newFiles(t)
	cert, key := pemPair(t, "second")
	f.write(f.cert, cert)
	f.looks(1)
	assert.Equal(t, "first", f.name())
	f.write(f.key, key)
	f.looks(1)
	assert.Equal(t, "second", f.name())
	assert.Equal(t, []error{nil}, f.told, "nothing was wrong")
	assert.Zero(t, f.logged("ERROR"))
}

func TestTLS17_BackToWhatItWas(t *testing.T) {
	f := newFiles(t)
	was, err := os.ReadFile(f.cert)
	require.NoError(t, err)
	f.write(f.cert, nil)
	f.looks(1)
	f.write(f.cert, was)
	f.looks(2)
	assert.Empty(t, f.told, "the pair in use is what it was")
	assert.Equal(t, "first", f.name())
}

// A rename, and the way of Kubernetes: the files are links into a directory behind a link that is swapped.
func TestTLS17_FilesThatAreSwapped(t *testing.T) {
	f := newFiles(t)
	cert, key := pemPair(t, "renamed")
	f.write(f.cert+".new", cert)
	f.write(f.key+".new", key)
	require.NoError(t, os.Rename(f.cert+".new", f.cert))
	require.NoError(t, os.Rename(f.key+".new", f.key))
	f.looks(1)
	assert.Equal(t, "renamed", f.name())

	f = &files{t: t, dir: t.TempDir()}
	f.cert, f.key = filepath.Join(f.dir, "cert.pem"), filepath.Join(f.dir, "key.pem")
	link := filepath.Join(f.dir, "data")
	into := func(version string) {
		dir := filepath.Join(f.dir, version)
		require.NoError(t, os.Mkdir(dir, 0o700))
		cert, key := pemPair(t, version)
		f.write(filepath.Join(dir, "cert.pem"), cert)
		f.write(filepath.Join(dir, "key.pem"), key)
		require.NoError(t, os.Symlink(dir, link+".new"))
		require.NoError(t, os.Rename(link+".new", link))
	}
	into("v1")
	require.NoError(t, os.Symlink(filepath.Join(link, "cert.pem"), f.cert))
	require.NoError(t, os.Symlink(filepath.Join(link, "key.pem"), f.key))
	f.open()
	assert.Equal(t, "v1", f.name())
	into("v2")
	f.looks(1)
	assert.Equal(t, "v2", f.name())
}

func TestTLS17_OneFileForBoth(t *testing.T) {
	f := &files{t: t, dir: t.TempDir()}
	f.cert = filepath.Join(f.dir, "both.pem")
	f.key = f.cert
	cert, key := pemPair(t, "both")
	f.write(f.cert, append(key, cert...))
	f.open()
	assert.Equal(t, "both", f.name())
}

// It looks by itself, from many goroutines it may be asked, and Close ends it.
func TestTLS17_ItLooksByItself(t *testing.T) {
	f := newFiles(t)
	r, err := NewReloader(ReloaderConfig{CertFile: f.cert, KeyFile: f.key, Interval: time.Millisecond,
		Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
				cert, err := r.GetCertificate(nil)
				if assert.NoError(t, err) && cert.Leaf.Subject.CommonName == "second" {
					return
				}
			}
			t.Error("the new certificate is not used")
		})
	}
	f.put("second")
	asking.Wait()
	assert.NoError(t, r.Close())
	assert.NoError(t, r.Close())
	f.put("third")
	cert, err := r.GetCertificate(nil)
	require.NoError(t, err)
	assert.Equal(t, "second", cert.Leaf.Subject.CommonName, "nobody looks any more")
	assert.NoError(t, r.Reload())
	cert, _ = r.GetCertificate(nil)
	assert.Equal(t, "third", cert.Leaf.Subject.CommonName, "but for who asks")
}

func TestBadInputOfReloader(t *testing.T) {
	_, err := NewReloader(ReloaderConfig{CertFile: "/nonexistent/cert.pem", KeyFile: "/nonexistent/key.pem"})
	var e *ReloadError
	require.ErrorAs(t, err, &e)
	assert.Equal(t, "tls: /nonexistent/cert.pem: open: no such file or directory", e.Error())
	assert.ErrorIs(t, e, fs.ErrNotExist)
	_, err = NewReloader(ReloaderConfig{Interval: -time.Second})
	assert.ErrorContains(t, err, "Interval is -1s")
}

package tls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// AlertError is an alert of TLS, by its number; 0 is close_notify.
type AlertError = tls.AlertError

// A HandshakeError, inside a ConnectError or CloseError of conn, says why there is no TLS. errors.As finds in it what
// crypto/tls and crypto/x509 said, and the alert as an [AlertError].
type HandshakeError struct {
	Auth   bool       // who the peer is was the problem, not how it spoke; or the peer said so of us
	Alert  AlertError // that was sent; 0 if there was none, or if none is known
	Remote bool       // it was the peer who sent it
	Err    error
}

// Error gives the words of crypto/tls, and the alert if they do not tell.
func (e *HandshakeError) Error() string { return withAlert(e.Err, e.Alert, e.Remote) }

// Unwrap returns the reason, and the alert if there was one.
func (e *HandshakeError) Unwrap() []error { return reasons(e.Err, e.Alert) }

// A RecordError, inside a CloseError of conn, says why an open connection cannot go on: what came is not TLS any more,
// or the peer ended it with an alert.
type RecordError struct {
	Alert  AlertError // that was sent; 0 if there was none
	Remote bool       // it was the peer who sent it
	Err    error
}

// Error gives the words of crypto/tls, and the alert if they do not tell.
func (e *RecordError) Error() string { return withAlert(e.Err, e.Alert, e.Remote) }

// Unwrap returns the reason, and the alert if there was one.
func (e *RecordError) Unwrap() []error { return reasons(e.Err, e.Alert) }

func withAlert(err error, a AlertError, remote bool) string {
	text := err.Error()
	name := strings.TrimPrefix(a.Error(), "tls: ")
	if a == 0 || strings.Contains(text, name) {
		return text
	}
	if remote {
		return fmt.Sprintf("%s (the peer sent the alert: %s)", text, name)
	}
	return fmt.Sprintf("%s (alert sent: %s)", text, name)
}

func reasons(err error, a AlertError) []error {
	if a == 0 {
		return []error{err}
	}
	return []error{err, a}
}

// Alerts that say that the other side is not who it must be, or cannot prove it (RFC 8446, section 6.2).
const (
	badCertificate      AlertError = 42
	certificateExpired  AlertError = 45
	unknownCA           AlertError = 48
	certificateRequired AlertError = 116
)

var authAlerts = []AlertError{badCertificate, 43, 44, certificateExpired, 46, unknownCA, 49, certificateRequired}

// handshakeError says why a handshake ended with err.
func handshakeError(err error, sent sentAlert, client bool) error {
	e := &HandshakeError{Auth: isAuth(err), Err: inWords(err)}
	e.Alert, e.Remote = alertOf(err)
	if e.Alert == 0 && !e.Remote {
		e.Alert = sent.plain
	}
	if e.Alert == 0 && !e.Remote && sent.sealed {
		// Only what crypto/tls says itself begins so. Anything else is from a callback that verifies.
		e.Auth = e.Auth || !strings.HasPrefix(err.Error(), "tls: ")
		if e.Auth {
			e.Alert = sealedAlert(err, client)
		}
	}
	e.Auth = e.Auth || slices.Contains(authAlerts, e.Alert)
	return e
}

func recordError(err error) error {
	alert, remote := alertOf(err)
	return &RecordError{Alert: alert, Remote: remote, Err: err}
}

// alertOf finds the alert in what crypto/tls returns when one was sent or received. Its type there is not exported, but
// that of the number is, and they have the same words.
func alertOf(err error) (a AlertError, remote bool) {
	var op *net.OpError
	if !errors.As(err, &op) || op.Err == nil {
		return 0, false
	}
	remote = op.Op == "remote error"
	for n := range 256 {
		if AlertError(n).Error() == op.Err.Error() {
			return AlertError(n), remote
		}
	}
	return 0, remote
}

const noCertificate = "didn't provide a certificate" // what crypto/tls says of such a client

// isAuth reports whether err is about who the peer is.
func isAuth(err error) bool {
	var verification *tls.CertificateVerificationError
	return errors.As(err, &verification) || strings.Contains(err.Error(), noCertificate)
}

// sealedAlert is the alert that crypto/tls sends if it does not like the peer's certificate.
func sealedAlert(err error, client bool) AlertError {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case client:
		return badCertificate
	case strings.Contains(err.Error(), noCertificate):
		return certificateRequired
	case errors.As(err, &unknown):
		return unknownCA
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return certificateExpired
	}
	return badCertificate
}

// inWords says what was sent in the place of TLS, if something was.
func inWords(err error) error {
	var header tls.RecordHeaderError
	if !errors.As(err, &header) {
		return err
	}
	header.Conn = nil // there is nothing to be done with it
	head := string(header.RecordHeader[:])
	for _, method := range []string{"GET ", "HEAD ", "POST ", "PUT ", "PATCH", "DELET", "OPTIO", "CONNE", "TRACE", "PRI *", "HTTP/"} {
		if strings.HasPrefix(head, method) {
			return fmt.Errorf("the peer speaks plain HTTP, not TLS: %w", header)
		}
	}
	if head[0] < typeChangeCipherSpec || head[0] > typeApplicationData {
		return fmt.Errorf("the peer does not speak TLS, its first bytes are %q: %w", head, header)
	}
	return header
}

// sentAlert is what is seen of the alert that crypto/tls wrote last during a handshake.
type sentAlert struct {
	plain  AlertError // 0 if there was none, or it was sealed
	sealed bool       // what was written last may have been a sealed alert
}

// see looks at records that are written.
func (s *sentAlert) see(p []byte) {
	for len(p) >= headerLen {
		n := min(headerLen+bodyLen(p), len(p))
		s.sealed = p[0] == typeApplicationData && n == headerLen+sealedAlertLen || p[0] == typeAlert && n > headerLen+2
		if p[0] == typeAlert && n == headerLen+2 {
			s.plain = AlertError(p[headerLen+1])
		}
		p = p[n:]
	}
}

// sealedAlertLen is the body of an alert of TLS 1.3: level, alert, type, and the tag of every cipher suite of crypto/tls.
const sealedAlertLen = 2 + 1 + 16

// Package tls is TLS as an interceptor. It imports nothing of this module but interceptor; all that is TLS is done by
// crypto/tls. After the handshake no goroutine is left: records are opened and sealed in the connection's turns.
//
// Put [Server] or [Client] into conn.Config.Layers, or give it to Conn.Upgrade for STARTTLS:
//
//	conn.Config{Layers: []interceptor.Factory{tls.Server(&tls.Config{Certificates: []tls.Certificate{cert}})}}
//
// OnConnected then says that the handshake is done; [Established] tells what it agreed on, shortly before. Nothing ever
// goes on in clear text: a handshake that fails is OnConnectFailed with a [*HandshakeError], or OnClosed in an upgrade.
//
// # Handshakes
//
// Their public-key work takes some hundred microseconds, and would hold an event loop up. So each runs on a goroutine of
// its own, which exists from the client's first whole message until the handshake is over. A [Pool] bounds how many of
// them compute at a time, by default one for each processor; those that wait for their peers do not count. Callbacks of
// the [Config] may block. A client that connects and says nothing has no goroutine, and is ended by
// conn.Config.StartTimeout, as is everything else that does not finish in time. [MaxHandshakes] bounds how many a server
// has in progress: at the bound clients wait, and handshakes whose own clients keep them waiting give way, with [ErrBusy].
//
// # Records
//
// What a Send passes down becomes records at once; the small buffers of one Send share one. All that a turn sends is one
// write. What one read brings is opened record by record, and delivered frame by frame: Pause, Close and Yield act between
// two frames of the same record. Key updates are answered, and tickets taken, also while the application has paused.
// Bytes that are not TLS, do not decrypt or are too long end the connection with a [*RecordError], and the alert is sent
// before. A renegotiation is refused.
//
// # Goodbye
//
// Close and CloseWrite send close_notify behind the last byte and before FIN. The peer's close_notify is OnEOF(nil); its
// FIN without one is reported as truncated, in OnEOF and OnClosed, for somebody may have cut the stream short. With TLS
// 1.3 either direction can end alone.
//
// Some peers are gone as soon as they have said goodbye, and do not wait for ours: curl, GnuTLS. Their system answers ours with
// a reset, which OnClosed then reports, after an OnEOF(nil). Whether all that was sent before has reached such a peer,
// TCP does not tell; who knows by the protocol that it has, as after the answer to a last request, need not care.
//
// # Certificates
//
// A [Reloader] keeps a certificate and its key as they are in files, and has new handshakes use what has changed. Client
// certificates, ALPN, SNI, tickets and KeyLogWriter are settings of crypto/tls, and work as there.
package tls

// Package tls is TLS as an interceptor. It imports nothing of this module but interceptor; all that is TLS is done by
// crypto/tls. After the handshake no goroutine is left: records are opened and sealed in the connection's turns.
//
// Put [Server] or [Client] into conn.Config.Layers, or give it to Conn.Upgrade for STARTTLS:
//
//	conn.Config{Layers: []interceptor.Factory{tls.Server(&tls.Config{Certificates: []tls.Certificate{cert}})}}
//
// OnConnected then says that the handshake is done; [Established] tells what it agreed on, shortly before. Nothing ever
// goes on in clear text: a handshake that fails is OnConnectFailed with a [*HandshakeError].
package tls

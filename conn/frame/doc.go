// Package frame cuts a byte stream into messages, and helps to write streams that can be cut.
//
// TCP carries bytes, not messages: what one side sends at once may arrive in pieces, and what it sends in pieces may
// arrive at once. Both sides must therefore agree where a message ends. Give one of these framers to the Split of a
// conn.Config, and each call of OnReceived delivers one message:
//
//   - [Fixed]: every message has the same length.
//   - [Prefixed], [Varint]: the length comes first. They suit binary messages, and cost least.
//   - [Lines], [Delimited]: an end mark comes last. They suit text, which must not contain the mark.
//
// [AppendPrefix] and [AppendVarint] write the lengths.
//
// A framer is a [bufio.SplitFunc]. So [bufio.ScanLines] and its like work for connections too, and the framers here
// work with a [bufio.Scanner]. A framer keeps nothing between two calls and allocates nothing: any number of
// connections may share one, and so may goroutines.
//
// # Limits
//
// Each framer but Fixed takes the length of the longest message, in bytes, without prefix or end mark. It fails with
// an [*Error] as soon as a message must be longer: when the length is complete, before anything of the message is
// waited for; or when so many bytes came without an end mark that none can come in time. So a peer that announces
// much, or never ends a line, costs no memory. conn.Config.MaxFrame bounds messages too: let it be no less.
//
// # The end of a stream
//
// A framer asks for more while a message is incomplete, also at the end of the stream: it never delivers a part. A
// connection then reports that the stream was cut short. A Scanner does not, it drops what is left.
//
// A message of no bytes is delivered as such: as an empty token that is not nil.
package frame

package conn

import "time"

// Stats counts what a connection did. It may still be read in OnClosed.
type Stats struct {
	BytesRead, BytesWritten uint64        // on the wire
	Received                uint64        // calls of OnReceived
	Accepted, Sent, Failed  uint64        // sends, and their outcomes so far
	Refused                 uint64        // sends refused as not writeable
	Pending                 int           // bytes queued now
	Throttles               uint64        // times Send became refused as not writeable
	Throttled               time.Duration // in all
}

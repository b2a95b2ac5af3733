package conn

import "github.com/galago-go/galago/interceptor"

// Connecting is raised whenever the number of addresses being tried changes.
type Connecting struct{ Inflight int }

// Upgraded is raised when the layer pushed by [Conn.Upgrade] is ready. From here on Send is accepted again.
type Upgraded struct{ Layer interceptor.Interceptor }

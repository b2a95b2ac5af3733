package conntest

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/galago-go/galago/conn"
)

// text is bytes as calls and scripts show them, formatted only if somebody looks. Long ones are cut short: many times
// the same byte as "x"*1000, others as their beginning and their length.
type text []byte

const (
	textWhole = 64 // bytes shown as they are
	textBegin = 16
)

func (p text) String() string {
	switch {
	case len(p) <= textWhole:
		return strconv.Quote(string(p))
	case len(bytes.Trim(p, string(p[:1]))) == 0 && p[0] < 0x80:
		return fmt.Sprintf("%q*%d", string(p[:1]), len(p))
	}
	return fmt.Sprintf("%q... (%d bytes)", string(p[:textBegin]), len(p))
}

// eventText names an event. Those of package conn are told by name, for one of them holds a pointer.
func eventText(ev any) string {
	switch ev := ev.(type) {
	case conn.Connecting:
		return fmt.Sprintf("conn.Connecting{%d}", ev.Inflight)
	case conn.Upgraded:
		return "conn.Upgraded"
	case string:
		return strconv.Quote(ev)
	case fmt.Stringer, error:
		return fmt.Sprint(ev)
	}
	return fmt.Sprintf("%T%+v", ev, ev)
}

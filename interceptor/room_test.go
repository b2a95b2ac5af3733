package interceptor

import "testing"

// lending is a neighbour that lends memory.
type lending struct {
	*socket
	memory []byte
}

func (l *lending) Room() []byte { return l.memory }

// asking is a layer that looks for memory.
type asking struct {
	Pass
	room []byte
}

func (a *asking) Up(l Link, p []byte) error {
	a.room = l.(Lender).Room()
	return l.Up(p)
}

// Only the top layer is lent memory: two would write to the same.
func TestRoomIsForTheTopLayer(t *testing.T) {
	below, top := new(asking), new(asking)
	c := chainOf(t, below, top)
	s := &lending{newSocket(), make([]byte, 9)}
	if err := c.Open(s); err != nil {
		t.Fatal(err)
	}
	if err := c.Up(s, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if below.room != nil || len(top.room) != 9 {
		t.Errorf("the top layer is lent %d bytes, the one below %d", len(top.room), len(below.room))
	}
	link := Link(c.top)
	c.Close()
	if room := link.(Lender).Room(); room != nil {
		t.Errorf("after the end %d bytes are lent", len(room))
	}
}

func TestNoRoomWhereNobodyLends(t *testing.T) {
	a := new(asking)
	c, s := chainOf(t, a), newSocket()
	if err := c.Open(s); err != nil {
		t.Fatal(err)
	}
	if err := c.Up(s, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if a.room != nil {
		t.Errorf("%d bytes are lent", len(a.room))
	}
}

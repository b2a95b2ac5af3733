package load

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/bench/internal/pressure"
)

const recordSize = 1000

// gather connects n peers, the last of which is special.
func gather(t *testing.T, to netip.AddrPort, n int) *Peers {
	t.Helper()
	p, err := Gathering{To: to, Number: n, Special: 1, Record: recordSize}.Gather()
	require.NoError(t, err)
	t.Cleanup(p.Close)
	p.Phase()
	return p
}

// records are numbers first to last, due now.
func records(first, last uint64) (all []byte) {
	for n := first; n <= last; n++ {
		r := make([]byte, recordSize)
		pressure.Fill(r, n, pressure.Now())
		all = append(all, r...)
	}
	return all
}

func soon() int64 { return pressure.Now() + int64(stallLimit) }

// until runs p until cond holds, which must be soon.
func until(t *testing.T, p *Peers, cond func() bool) {
	t.Helper()
	require.NoError(t, p.Run(soon(), cond))
	require.True(t, cond(), "it takes too long")
}

func TestPeersTakeRecordsHoweverTheyAreCut(t *testing.T) {
	all := records(1, 50)
	to := listen(t, func(nc net.Conn) {
		for at, n := 0, 1; at < len(all); at, n = at+n, n%1777+111 {
			nc.Write(all[at:min(at+n, len(all))])
		}
	})
	p := gather(t, to, 1)
	until(t, p, func() bool { return p.Ended() == 1 })
	came, skipped := p.Records(true)
	assert.Equal(t, []int{50, 0}, []int{came, skipped})
	_, special := p.Bytes()
	assert.Equal(t, len(all), special)
	assert.Empty(t, p.Wrong(true))
	assert.EqualValues(t, 50, p.Delays(0, true).TotalCount())
	assert.Zero(t, p.Delays(0, false).TotalCount())
}

func TestPeersNoticeWhatIsWrong(t *testing.T) {
	for name, test := range map[string]struct {
		stream []byte
		says   string
	}{
		"a byte":          {func() []byte { s := records(1, 3); s[2500]++; return s }(), "record 3 has other bytes"},
		"the same twice":  {append(records(1, 2), records(2, 2)...), "record 2 came after record 2"},
		"the wrong order": {append(records(5, 5), records(4, 4)...), "record 4 came after record 5"},
		"a piece":         {records(1, 2)[:1500], "ended inside a record"},
	} {
		t.Run(name, func(t *testing.T) {
			p := gather(t, listen(t, func(nc net.Conn) { nc.Write(test.stream) }), 1)
			until(t, p, func() bool { return p.Ended() == 1 })
			require.Len(t, p.Wrong(true), 1)
			assert.Contains(t, p.Wrong(true)[0], test.says)
		})
	}
}

func TestPeersCountWhatWasLeftOut(t *testing.T) {
	p := gather(t, listen(t, func(nc net.Conn) { nc.Write(append(records(3, 4), records(10, 10)...)) }), 1)
	until(t, p, func() bool { return p.Ended() == 1 })
	came, skipped := p.Records(true)
	assert.Equal(t, []int{3, 5}, []int{came, skipped}, "5 to 9; whoever comes late has missed nothing")
	assert.Empty(t, p.Wrong(true))
}

func TestAResetIsNoOrderlyEnd(t *testing.T) {
	p := gather(t, listen(t, func(nc net.Conn) {
		nc.Write(records(1, 1))
		io.ReadFull(nc, make([]byte, 1))
		nc.(*net.TCPConn).SetLinger(0)
	}), 1)
	require.NoError(t, p.Say(pressure.End))
	until(t, p, func() bool { return p.Ended() == 1 })
	assert.Contains(t, p.Wrong(true), "the stream of peer 1 was reset")
	assert.Empty(t, p.Wrong(false), "it may be meant")
}

// One that stopped must not read, nor hold others up; and it may go on.
func TestAPeerStopsAndGoesOn(t *testing.T) {
	p := gather(t, listen(t, func(nc net.Conn) {
		nc.Write(records(1, 100))
		io.Copy(io.Discard, nc)
	}), 2)
	slow := p.Special()[0]
	require.Same(t, p.All[1], slow)
	require.NoError(t, p.Read(slow, Stopped))
	ordinary := func() int { came, _ := p.Records(false); return came }
	special := func() int { came, _ := p.Records(true); return came }
	until(t, p, func() bool { return ordinary() == 100 })
	assert.Zero(t, special())
	assert.Zero(t, p.Age(true, pressure.Now()), "it has none yet")
	assert.Positive(t, p.Age(false, pressure.Now()))
	require.NoError(t, p.Read(slow, Free))
	until(t, p, func() bool { return special() == 100 })
}

// The speed is kept: in half a second no more than half of it came, and not much less.
func TestAPeerReadsAtASpeed(t *testing.T) {
	p := gather(t, listen(t, func(nc net.Conn) {
		for all := records(1, 5000); ; {
			if _, err := nc.Write(all); err != nil {
				return
			}
		}
	}), 1)
	const speed = 2 << 20
	require.NoError(t, p.Read(p.All[0], speed))
	begin := pressure.Now()
	require.NoError(t, p.Run(begin+int64(500*time.Millisecond), nil))
	took := float64(pressure.Now()-begin) / 1e9
	_, n := p.Bytes()
	assert.LessOrEqual(t, float64(n), speed*took)
	assert.Greater(t, float64(n), speed*took/4, "unless the machine is very busy")
}

func TestAPeerSendsAtASpeedAndNeverHalfARecord(t *testing.T) {
	p := gather(t, listen(t, func(nc net.Conn) { io.Copy(nc, nc) }), 1)
	p.Send(p.All[0], 1<<20)
	until(t, p, func() bool { return p.Sent() >= 100 })
	p.Send(p.All[0], Stopped)
	until(t, p, func() bool { came, _ := p.Records(true); return came == p.Sent() })
	assert.Empty(t, p.Wrong(true))
}

func TestASenderThatIsNotReadIsHeldUpAndLosesNothing(t *testing.T) {
	p := gather(t, listen(t, func(nc net.Conn) {
		if _, err := io.ReadFull(nc, make([]byte, 1)); err == nil { // and nothing until the peer has said so
			io.Copy(nc, nc)
		}
	}), 1)
	p.Send(p.All[0], 1<<30)
	before := -1
	until(t, p, func() bool { // until the system takes no more
		n := p.Sent()
		full := n == before && len(p.All[0].out) > 0
		before = n
		return full
	})
	p.Send(p.All[0], Stopped)
	assert.NotEmpty(t, p.paced, "the rest of a record is to be sent")
	p.Hang()
	assert.Empty(t, p.paced)
}

func TestRecordsBelongToThePhaseInWhichTheyWereDue(t *testing.T) {
	due := make(chan []byte, 2)
	p := gather(t, listen(t, func(nc net.Conn) {
		for r := range due {
			nc.Write(r)
		}
	}), 1)
	early := records(1, 1)
	p.Phase()
	due <- early
	due <- records(2, 3)
	close(due)
	until(t, p, func() bool { return p.Ended() == 1 })
	assert.EqualValues(t, 1, p.Delays(0, true).TotalCount(), "it came later, but that is where it was due")
	assert.EqualValues(t, 2, p.Delays(1, true).TotalCount())
}

func TestPeersThatCannotConnect(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nobody := ln.Addr().(*net.TCPAddr).AddrPort()
	require.NoError(t, ln.Close())
	_, err = Gathering{To: nobody, Number: 3, Record: recordSize}.Gather()
	assert.ErrorContains(t, err, "connection 1 of 3")
}

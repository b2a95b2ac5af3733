package pressure

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestARecordIsKnownByItsNumber(t *testing.T) {
	for _, size := range []int{RecordMin, 1000, RecordMax} {
		p, q := make([]byte, size), make([]byte, size)
		Fill(p, 7, 123)
		n, due := ReadHead(p)
		assert.EqualValues(t, 7, n)
		assert.EqualValues(t, 123, due)
		assert.True(t, Intact(p))
		Fill(q, 8, 123)
		assert.NotEqual(t, p[head:], q[head:], "each number has other bytes")
		for _, at := range []int{head, size / 2, size - 1} {
			p[at] ^= 1
			assert.False(t, Intact(p), "byte %d of %d", at, size)
			p[at] ^= 1
		}
		Fill(q, 8, 123)
		copy(q, p[:head])
		assert.False(t, Intact(q), "the body of another record")
	}
}

func TestSettingsComeBack(t *testing.T) {
	s := Settings{Record: 100, Every: time.Millisecond, High: 2000, Low: 1000, Buffer: 5, ReadsOn: true, CloseTime: time.Second, Report: time.Second}
	got, err := Parse(s.String())
	require.NoError(t, err)
	assert.Equal(t, s, got)
	assert.Equal(t, 2100, s.Bound())
}

func TestSettingsThatCannotWorkAreNamed(t *testing.T) {
	for text, says := range map[string]string{
		"high": "no settings", `{"height": 1}`: "height",
		`{"record": 31, "report": 1000000}`:                           "record is 31: it must be 32 to 65536 bytes",
		`{"record": 32, "high": 1, "low": 2, "report": 1000000}`:      "low is 2",
		`{"record": 32, "report": 999}`:                               "report is 999ns",
		`{"record": 32, "report": 1000000, "high": 1, "buffer": -1}`:  "below 0",
		`{"record": 32, "report": 1000000, "high": 1, "every": -100}`: "below 0",
	} {
		_, err := Parse(text)
		assert.ErrorContains(t, err, says, text)
	}
}

func TestNowIsTheSameClockAndRises(t *testing.T) {
	a, begin := Now(), time.Now()
	for time.Since(begin) < 2*time.Millisecond {
	}
	assert.InDelta(t, time.Since(begin), Now()-a, float64(50*time.Millisecond))
	assert.Greater(t, Now()-a, int64(time.Millisecond))
}

func line(t *testing.T, a *Account) Line {
	t.Helper()
	l, err := a.Line()
	require.NoError(t, err)
	return l
}

func TestAnAccountCountsWhatBecomesOfSends(t *testing.T) {
	a := NewAccount(0)
	l, m := a.Open(), a.Open()
	l.Accepted(1, 100)
	l.Accepted(2, 250)
	m.Accepted(1, 10)
	m.Refused("not writeable")
	got := line(t, a)
	assert.Equal(t, Line{At: got.At, Open: 2, Pending: 260, Most: 250, Peak: 250, Accepted: 3, Refused: map[string]int{"not writeable": 1}}, got)
	l.Settled(1, true, 150)
	l.Settled(2, false, 0)
	m.Settled(1, true, 0)
	l.Close()
	m.Close()
	got = line(t, a)
	assert.Empty(t, got.Wrong)
	assert.Equal(t, []int{0, 0, 250, 3, 2, 1}, []int{got.Open, got.Pending, got.Peak, got.Accepted, got.Sent, got.Failed})
	h := Latencies()
	require.NoError(t, got.Merge(h))
	assert.EqualValues(t, 2, h.TotalCount(), "the times of what was sent")
	got = line(t, a)
	assert.Empty(t, got.Times, "each is told once")
}

func TestWhoHasNoTokensHoldsWhatIsNotSettled(t *testing.T) {
	a := NewAccount(0)
	l := a.Open()
	first, second := l.Start(10), l.Start(20)
	assert.Equal(t, 30, line(t, a).Pending)
	l.Finish(first, 10, true)
	assert.Equal(t, 20, line(t, a).Pending)
	l.Finish(second, 20, true)
	l.Close()
	got := line(t, a)
	assert.Equal(t, []int{0, 30, 2}, []int{got.Pending, got.Peak, got.Sent})
	assert.Empty(t, got.Wrong)
}

func TestOutcomesThatShouldNotBe(t *testing.T) {
	for name, do := range map[string]func(*Ledger){
		"without a send":   func(l *Ledger) { l.Settled(1, true, 0) },
		"twice":            func(l *Ledger) { l.Accepted(1, 1); l.Settled(1, true, 0); l.Settled(1, true, 0) },
		"in another order": func(l *Ledger) { l.Accepted(1, 1); l.Accepted(2, 2); l.Settled(2, true, 0) },
		"missing":          func(l *Ledger) { l.Accepted(1, 1); l.Close() },
	} {
		a := NewAccount(0)
		do(a.Open())
		assert.Len(t, line(t, a).Wrong, 1, name)
	}
}

func TestMistakesDoNotFillTheMemory(t *testing.T) {
	a := NewAccount(0)
	l := a.Open()
	for n := range uint64(1000) {
		l.Settled(n, true, 0)
	}
	assert.Len(t, line(t, a).Wrong, 10)
}

func TestALongQueueOfSendsKeepsItsOrder(t *testing.T) {
	a := NewAccount(0)
	l := a.Open()
	settled := uint64(0)
	for n := uint64(1); n <= 10_000; n++ {
		l.Accepted(n, 1)
		if n%3 == 0 {
			settled++
			l.Settled(settled, true, 1)
		}
	}
	for settled < 10_000 {
		settled++
		l.Settled(settled, true, 0)
	}
	l.Close()
	got := line(t, a)
	assert.Equal(t, 10_000, got.Sent)
	assert.Empty(t, got.Wrong)
}

func TestHaltsAreCountedWithTheirTime(t *testing.T) {
	a := NewAccount(0)
	l := a.Open()
	l.Halt()
	got := line(t, a)
	assert.Equal(t, 1, got.Cycles, "the present one counts")
	assert.Zero(t, got.Longest)
	l.Go()
	l.Go()
	got = line(t, a)
	assert.Equal(t, 1, got.Cycles)
	assert.Positive(t, got.Halted)
	assert.Equal(t, got.Halted, got.Longest)
	l.Halt()
	l.Close()
	assert.Equal(t, 2, line(t, a).Cycles, "the end ends it")

	a = NewAccount(time.Hour)
	l = a.Open()
	l.Halt()
	assert.Zero(t, line(t, a).Cycles, "it is not long yet")
	l.Go()
	assert.Zero(t, line(t, a).Cycles, "it was brief")
}

func TestWhatWasReadAheadCounts(t *testing.T) {
	a := NewAccount(0)
	a.Unread = func() (all, most int) { return 70, 50 }
	l := a.Open()
	l.Accepted(1, 30)
	got := line(t, a)
	assert.Equal(t, 100, got.Pending)
	assert.Equal(t, []int{50, 50}, []int{got.Most, got.Peak})
	a.Unread = func() (all, most int) { return 0, 0 }
	assert.Equal(t, 50, line(t, a).Peak)
}

func TestReportsAreLinesOfJSON(t *testing.T) {
	a := NewAccount(0)
	a.Open().Accepted(1, 5)
	out := &limited{lines: 3}
	assert.ErrorIs(t, a.Report(out, time.Millisecond), errFull)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 3)
	var first, last Line
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &first))
	require.NoError(t, json.Unmarshal([]byte(lines[2]), &last))
	assert.Greater(t, last.At, first.At)
	assert.Equal(t, 1, last.Accepted)
}

// A limited takes some lines.
type limited struct {
	bytes.Buffer
	lines int
}

var errFull = assert.AnError

func (l *limited) Write(p []byte) (int, error) {
	if l.lines == 0 {
		return 0, errFull
	}
	l.lines--
	return l.Buffer.Write(p)
}

func TestTimesThatAreNone(t *testing.T) {
	assert.Error(t, Line{Times: "x"}.Merge(Latencies()))
	assert.NoError(t, Line{}.Merge(Latencies()))
}

func TestTicksAreDueAtFixedTimes(t *testing.T) {
	stop, begin := make(chan struct{}), Now()
	var dues []int64
	Tick(2*time.Millisecond, stop, func(n uint64, due int64) {
		require.EqualValues(t, len(dues)+1, n)
		assert.LessOrEqual(t, due, Now(), "none is early")
		if dues = append(dues, due); n == 2 { // this one holds the others up, which are late, and not left out
			for Now() < due+int64(9*time.Millisecond) {
			}
		}
		if n == 6 {
			close(stop)
		}
	})
	require.Len(t, dues, 6)
	assert.GreaterOrEqual(t, dues[0], begin+int64(2*time.Millisecond))
	for i := range dues[1:] {
		assert.EqualValues(t, 2*time.Millisecond, dues[i+1]-dues[i])
	}
}

func TestNoTickAfterStop(t *testing.T) {
	stop := make(chan struct{})
	close(stop)
	Tick(time.Hour, stop, func(uint64, int64) { t.Error("a tick") })
}

// Many servers account on several goroutines.
func TestAnAccountOfManyGoroutines(t *testing.T) {
	a, done := NewAccount(0), make(chan struct{})
	for range 4 {
		go func() {
			l := a.Open()
			for range 1000 {
				n := l.Start(3)
				l.Halt()
				l.Go()
				l.Finish(n, 3, true)
			}
			l.Close()
			done <- struct{}{}
		}()
	}
	total := Latencies()
	for open := 4; open > 0; {
		select {
		case <-done:
			open--
		default:
		}
		require.NoError(t, line(t, a).Merge(total))
	}
	got := line(t, a)
	require.NoError(t, got.Merge(total))
	assert.Equal(t, 4000, got.Sent)
	assert.EqualValues(t, 4000, total.TotalCount(), "every time is told once")
	assert.Zero(t, got.Pending+got.Open)
	assert.Empty(t, got.Wrong)
}

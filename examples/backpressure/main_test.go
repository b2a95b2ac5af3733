package main

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/examples/internal/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m, main)) }

// A tick is a line of the table.
type tick struct {
	pace          pace
	bar           string
	pending       float64 // bytes, rounded as shown
	sent, settled int
	flight        int
	cycles        int
	latency       string
	heap          float64
}

var tickLine = regexp.MustCompile(`^ *[0-9.]+s  (fast|slow|none|end) +(\[[#.:]{20}\][ +]) +([0-9.]+ \w+) +` +
	`(\d+) +(\d+) +(\d+) +(\d+) +\d+ +(\S.*\S|-) +([0-9.]+ \w+)$`)

// readTable reads the lines that the program printed: those between the header and the verdicts.
func readTable(t *testing.T, lines []string) (ticks []tick, verdicts []string) {
	t.Helper()
	require.Greater(t, len(lines), 6, "lines")
	require.Contains(t, lines[1], "Send to OnSent")
	for _, line := range lines[2 : len(lines)-4] {
		m := tickLine.FindStringSubmatch(line)
		require.NotNil(t, m, "line %q", line)
		ticks = append(ticks, tick{pace(m[1]), m[2], inBytes(t, m[3]), number(t, m[4]), number(t, m[5]), number(t, m[6]),
			number(t, m[7]), m[8], inBytes(t, m[9])})
	}
	return ticks, lines[len(lines)-4:]
}

func number(t *testing.T, s string) int {
	n, err := strconv.Atoi(s)
	require.NoError(t, err)
	return n
}

func inBytes(t *testing.T, s string) float64 {
	var n float64
	var unit string
	_, err := fmt.Sscan(s, &n, &unit)
	require.NoError(t, err)
	return n * map[string]float64{"B": 1, "KiB": 1 << 10, "MiB": 1 << 20}[unit]
}

// of returns the ticks of one phase; phases of the same pace are told apart by what is between them.
func of(ticks []tick, p pace) (found []tick) {
	for _, k := range ticks {
		if k.pace == p {
			found = append(found, k)
		}
	}
	return found
}

func TestEveryPromiseIsKeptInEveryPhase(t *testing.T) {
	for _, test := range []struct {
		name      string
		args      []string
		high, low float64
	}{
		{"defaults", nil, 64 << 10, 32 << 10},
		{"little", []string{"-high", "5000", "-low", "1"}, 5000, 1},
		{"much", []string{"-high", "1000000", "-low", "1000000"}, 1e6, 1e6},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := program.Launch(t, nil, append([]string{"-phase", "700ms", "-tick", "20ms"}, test.args...)...)
			lines := p.Rest(t)
			assert.Empty(t, p.End(t))
			ticks, verdicts := readTable(t, lines)

			var order []pace
			for _, k := range ticks {
				if len(order) == 0 || order[len(order)-1] != k.pace {
					order = append(order, k.pace)
				}
				assert.LessOrEqual(t, k.pending, (test.high+recordSize)*1.01, "pending, to the digits shown")
				assert.Equal(t, k.sent, k.settled+k.flight)
				assert.Less(t, k.heap, 64.*(1<<20), "bytes of heap, whatever was sent")
			}
			if last := len(order) - 1; order[last] == over { // a tick after the script's end
				order = order[:last]
			}
			require.Equal(t, phases[:], order)

			reading, still := of(ticks, slow), of(ticks, none)
			assert.Greater(t, still[0].cycles, reading[0].cycles, "a slow reader throttles")
			require.Greater(t, len(still), 2)
			last, before := still[len(still)-1], still[len(still)-2]
			assert.Equal(t, before.sent, last.sent, "nothing is sent to a reader that does not read")
			assert.Greater(t, last.flight, 0)
			assert.Greater(t, last.pending, test.high*.99, "it is full, to the digits shown")
			assert.Equal(t, "[####################]+", last.bar)
			assert.Contains(t, last.latency, "waits ")
			assert.Greater(t, ticks[len(ticks)-1].sent, last.sent, "and then it goes on")

			assert.Regexp(t, `^ok .* HighWater \+ MaxPending: \d+ at most, of `+strconv.Itoa(int(test.high)+recordSize)+"$",
				verdicts[0])
			assert.Regexp(t, `^ok .* alternated: [1-9]\d* cycles$`, verdicts[1])
			assert.Regexp(t, `^ok .* exactly once: [1-9]\d* sent, 0 failed$`, verdicts[2])
			assert.Regexp(t, `^ok .* in order: [1-9]\d* records$`, verdicts[3])
		})
	}
}

// A signal ends the script, not the promises.
func TestSignalEndsInOrder(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			p := program.Launch(t, nil, "-phase", "30s", "-tick", "10ms")
			lines := []string{p.Line(t), p.Line(t), p.Line(t)} // the header, and a tick
			p.Signal(t, sig)
			lines = append(lines, p.Rest(t)...)
			assert.Empty(t, p.End(t))
			_, verdicts := readTable(t, lines)
			for _, v := range verdicts {
				assert.Regexp(t, "^ok ", v)
			}
		})
	}
}

func TestBadSettings(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"no time", []string{"-phase", "0"}, 2, []string{"-phase is 0s", "1500ms"}},
		{"negative time", []string{"-phase", "-1s"}, 2, []string{"-phase is -1s", "1500ms"}},
		{"too long", []string{"-phase", "61m"}, 2, []string{"-phase is 1h1m0s", "at most 1h"}},
		{"no tick", []string{"-tick", "0"}, 2, []string{"-tick is 0s", "100ms"}},
		{"not a time", []string{"-phase", "5"}, 2, []string{`"5"`, "-phase", "duration"}},
		{"no high water", []string{"-high", "0"}, 2, []string{"-high is 0", "1 to 67108864"}},
		{"negative high water", []string{"-high", "-1"}, 2, []string{"-high is -1", "1 to 67108864"}},
		{"too high", []string{"-high", "67108865"}, 2, []string{"-high is 67108865", "1 to 67108864"}},
		{"negative low water", []string{"-low", "-1"}, 2, []string{"-low is -1", "0 (half of -high)"}},
		{"low above high", []string{"-high", "10", "-low", "11"}, 2, []string{"-low is 11", "10 bytes, which is -high"}},
		{"not a number", []string{"-low", "half"}, 2, []string{`"half"`, "-low"}},
		{"unknown flag", []string{"-water", "1"}, 2, []string{"-water", "-high"}},
		{"argument", []string{"7669"}, 2, []string{`"7669"`, "-help"}},
		{"help", []string{"-help"}, 0, []string{"-phase", "-tick", "-high", "-low"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, stdout, stderr := program.Run(t, "", test.args...)
			assert.Equal(t, test.code, code)
			assert.Empty(t, stdout)
			for _, s := range test.says {
				assert.Contains(t, stderr, s)
			}
			assert.NotContains(t, stderr, "goroutine ", "a stack trace is no answer to a wrong setting")
		})
	}
}

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/examples/internal/program"
)

const (
	// count is how many lines a flood has. They are 30 MB, and twice as much as messages in mailboxes.
	count = 300_000
	// memoryLimit is how many bytes the server may grow by, however much is said and whoever does not read.
	memoryLimit = 24 << 20
)

// spoken is line i of a flood, as it is said.
func spoken(i int) string { return fmt.Sprintf("%06d %s", i, strings.Repeat("=", 93)) }

// flood makes from say all lines, while to hears each of them, in order. from is never far ahead, so that to reads
// soon enough however busy the machine is. It returns what else to heard.
func flood(t *testing.T, from, to *person) (notices []string) {
	t.Helper()
	const batch = 100
	ahead := make(chan struct{}, 3) // batches, of 10 KiB each
	said := make(chan error, 1)
	go func() {
		var err error
		for i := 0; i < count && err == nil; i += batch {
			var lines strings.Builder
			for k := range batch {
				lines.WriteString(spoken(i+k) + "\n")
			}
			ahead <- struct{}{}
			_, err = io.WriteString(from, lines.String())
		}
		said <- err
	}()
	for i := 0; i < count; {
		if line := to.next(); strings.HasPrefix(line, "* ") {
			notices = append(notices, line)
			continue
		} else {
			require.Equal(t, "loud: "+spoken(i), line)
		}
		if i++; i%batch == 0 {
			<-ahead
			require.NoError(t, to.SetDeadline(time.Now().Add(program.Patience)))
		}
	}
	require.NoError(t, <-said)
	return notices
}

// One member reads nothing. The room does not wait for it, the server does not keep much for it, and in the end it is
// thrown out.
func TestAMemberThatNeverReadsIsThrownOut(t *testing.T) {
	server := program.Start(t, "-limit", "500")
	loud, calm, deaf := join(t, server, "loud"), join(t, server, "calm"), join(t, server, "deaf")
	calm.hears("* guest3 enters lobby", "* guest3 is now deaf")
	before := residentBytes(t, server.Pid())
	notices := flood(t, loud, calm)
	grown := residentBytes(t, server.Pid()) - before
	assert.Less(t, grown, int64(memoryLimit), "bytes that the server has grown by")
	assert.Equal(t, []string{"* deaf leaves lobby"}, notices)

	_, err := io.Copy(io.Discard, deaf.in)
	require.ErrorIs(t, err, syscall.ECONNRESET)
	calm.say("/who")
	calm.hears("* in lobby: calm loud")
	loud.Close()
	calm.Close()
	stderr := server.Stop(t)
	assert.Contains(t, stderr, "chat: "+deaf.LocalAddr().String()+": thrown out: too slow: it missed 500 lines in a row\n")
	assert.Contains(t, stderr, fmt.Sprintf("lines said: %d, missed: ", count))
	assert.Contains(t, stderr, "; thrown out: 1; ")
}

// A member that reads late, but may: it hears the beginning, is told exactly how much it missed, and then hears the
// others again.
func TestAMemberThatReadsLateIsToldWhatItMissed(t *testing.T) {
	server := program.Start(t, "-limit", "1000000")
	loud, calm, late := join(t, server, "loud"), join(t, server, "calm"), join(t, server, "late")
	calm.hears("* guest3 enters lobby", "* guest3 is now late")
	before := residentBytes(t, server.Pid())
	assert.Empty(t, flood(t, loud, calm))
	grown := residentBytes(t, server.Pid()) - before
	assert.Less(t, grown, int64(memoryLimit), "bytes that the server has grown by")
	late.say("wait for me!") // what it says does not wait for what it hears
	calm.hears("late: wait for me!")
	loud.hears("* guest2 enters lobby", "* guest2 is now calm", "* guest3 enters lobby", "* guest3 is now late",
		"late: wait for me!")

	heard, missed := hearOn(t, late)
	assert.Positive(t, missed, "the flood was more than the sockets hold")
	t.Logf("heard %d, missed %d", heard, missed)
	calm.say("still there?")
	late.hears("calm: still there?")
	late.say("again!")
	calm.hears("late: again!")
	for _, c := range []*person{loud, calm, late} {
		c.Close()
	}
	assert.Contains(t, server.Stop(t), fmt.Sprintf("missed: %d; thrown out: 0;", missed))
}

// hearOn reads until all lines of a flood were heard or missed. What is heard comes in order, and each gap in it is
// as large as the notices say.
func hearOn(t *testing.T, c *person) (heard, missed int) {
	t.Helper()
	next, gap := 0, 0 // the line after the last one heard; what was missed since then, as far as numbers or notices tell
	told := 0
	for heard+told < count {
		require.NoError(t, c.SetDeadline(time.Now().Add(program.Patience)))
		line, n, i := c.next(), 0, 0
		if _, err := fmt.Sscanf(line, "* you missed %d lines", &n); err == nil {
			told += n
			continue
		}
		_, err := fmt.Sscanf(line, "loud: %06d", &i)
		require.NoError(t, err, "%q", line)
		require.GreaterOrEqual(t, i, next, "in order")
		gap += i - next
		next = i + 1
		heard++
	}
	assert.Equal(t, count-next+gap, told, "lines that are missing, and lines that it was told of")
	return heard, told
}

// Somebody talks as fast as it can, and nothing keeps the server from falling behind but itself. Its memory stays
// bounded, also with somebody who never reads, and whoever reads knows of each line what became of it.
func TestAFloodWithoutPauseIsBounded(t *testing.T) {
	server := program.Start(t, "-limit", "1000000")
	loud, calm := join(t, server, "loud"), join(t, server, "calm")
	join(t, server, "deaf")
	calm.hears("* guest3 enters lobby", "* guest3 is now deaf")
	loud.hears("* guest2 enters lobby", "* guest2 is now calm", "* guest3 enters lobby", "* guest3 is now deaf")
	before := residentBytes(t, server.Pid())
	said := make(chan error, 1)
	go func() {
		out := bufio.NewWriterSize(loud, 64<<10)
		for i := range count {
			out.WriteString(spoken(i) + "\n")
		}
		out.WriteString("/who\n")
		said <- out.Flush()
	}()
	heard, missed := hearOn(t, calm)
	require.NoError(t, <-said)
	loud.hears("* in lobby: calm deaf loud")
	grown := residentBytes(t, server.Pid()) - before
	t.Logf("heard %d, missed %d; the server has grown by %.1f MiB", heard, missed, float64(grown)/(1<<20))
	assert.Less(t, grown, int64(memoryLimit), "bytes that the server has grown by")
}

// residentBytes returns the resident set size of a process.
func residentBytes(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	_, after, ok := strings.Cut(string(status), "VmRSS:")
	require.True(t, ok, "no VmRSS in %s", status)
	var kib int64
	_, err = fmt.Sscan(after, &kib)
	require.NoError(t, err)
	return kib << 10
}

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A person is a client.
type person struct {
	*net.TCPConn
	t  *testing.T
	in *bufio.Reader
}

// enter connects, hears its welcome, and takes a name.
func (p *process) enter(t *testing.T, name string) *person {
	t.Helper()
	c := &person{TCPConn: p.dial(t), t: t}
	c.in = bufio.NewReader(c)
	require.Regexp(t, `^\* you are guest\d+, in lobby$`, c.next())
	c.say("/nick " + name)
	require.Regexp(t, `^\* guest\d+ is now `+name+`$`, c.next())
	return c
}

func (c *person) say(lines ...string) {
	c.t.Helper()
	_, err := io.WriteString(c, strings.Join(lines, "\n")+"\n")
	require.NoError(c.t, err)
}

// next returns the next line.
func (c *person) next() string {
	c.t.Helper()
	line, err := c.in.ReadString('\n')
	require.NoError(c.t, err)
	return strings.TrimSuffix(line, "\n")
}

func (c *person) hears(lines ...string) {
	c.t.Helper()
	for _, want := range lines {
		require.Equal(c.t, want, c.next())
	}
}

func (c *person) hearsTheEnd() {
	c.t.Helper()
	_, err := c.in.ReadByte()
	require.Equal(c.t, io.EOF, err)
}

func TestPeopleTalkInRooms(t *testing.T) {
	server := start(t, "-loops", "2")
	ann := server.enter(t, "ann")
	bob := server.enter(t, "bob")
	ann.hears("* guest2 enters lobby", "* guest2 is now bob")
	ann.say("hello")
	bob.hears("ann: hello")
	bob.say("hi\r") // as telnet ends lines
	ann.hears("bob: hi")

	cid := server.enter(t, "cid")
	ann.hears("* guest3 enters lobby", "* guest3 is now cid")
	bob.hears("* guest3 enters lobby", "* guest3 is now cid")
	cid.say("/join kitchen", "/who", "anybody here?", "/join kitchen", "/who")
	cid.hears("* you are cid, in kitchen", "* in kitchen: cid", "* in kitchen: cid")
	ann.hears("* cid leaves lobby")
	bob.hears("* cid leaves lobby")
	bob.say("/join kitchen")
	ann.hears("* bob leaves lobby")
	bob.hears("* you are bob, in kitchen")
	cid.hears("* bob enters kitchen")
	bob.say("  all of you:  ", "", "/who", "bad \xff byte")
	cid.hears("bob: all of you:", "bob: bad ? byte")
	bob.hears("* in kitchen: bob cid")
	ann.say("/who")
	ann.hears("* in lobby: ann")

	cid.say("bye", "/quit", "what comes behind is not heard")
	cid.hearsTheEnd()
	bob.hears("cid: bye")
	require.NoError(t, cid.Close())
	bob.hears("* cid leaves kitchen")
	require.NoError(t, bob.CloseWrite()) // a peer's end is as good as /quit
	bob.hearsTheEnd()
	bob.Close()

	dan := server.enter(t, "cid") // the name is free again
	ann.hears("* guest4 enters lobby", "* guest4 is now cid")
	dan.say("/join kitchen") // so is the room
	dan.hears("* you are cid, in kitchen")
	ann.hears("* cid leaves lobby")

	require.NoError(t, server.cmd.Process.Signal(os.Interrupt))
	ann.hearsTheEnd()
	dan.hearsTheEnd()
	ann.Close()
	dan.Close()
	require.Equal(t, 0, server.wait(t))
	assert.Equal(t, "chat: shut down; lines said: 6, missed: 0; thrown out: 0; "+
		"connections closed in order: 2, aborted: 0\n", server.stderr.String())
}

func TestCommandsThatCannotBe(t *testing.T) {
	server := start(t)
	ann, bob := server.enter(t, "ann"), server.enter(t, "bob")
	ann.hears("* guest2 enters lobby", "* guest2 is now bob")
	const rule = "a name is 1 to 20 letters, digits, - or _"
	tooLong := strings.Repeat("x", 21)
	for request, answer := range map[string]string{
		"/nick":            `* nobody can be called "": ` + rule,
		"/nick a b":        `* nobody can be called "a b": ` + rule,
		"/nick " + tooLong: `* nobody can be called "` + tooLong + `": ` + rule,
		"/nick bob":        `* bob is taken: choose another name`,
		"/join a\x07b":     `* no room can be called "a\ab": ` + rule,
		"/shout":           `* there is no /shout: say /nick NAME, /join ROOM, /who, /quit, or just talk`,
	} {
		ann.say(request)
		ann.hears(answer)
	}
	ann.say("/nick ann", "/who") // one's own name is no other's
	ann.hears("* in lobby: ann bob")
	bob.say("x")
	ann.hears("bob: x")
}

func TestALineThatIsTooLong(t *testing.T) {
	server := start(t)
	ann, bob := server.enter(t, "ann"), server.enter(t, "bob")
	longest := strings.Repeat("x", 1024)
	ann.say(longest)
	bob.hears("ann: " + longest)
	ann.say(longest + "y")
	for err := error(nil); ; {
		if _, err = ann.in.ReadString('\n'); err != nil {
			require.ErrorIs(t, err, syscall.ECONNRESET)
			break
		}
	}
	bob.hears("* ann leaves lobby")
	bob.Close()
	stderr := server.stop(t)
	assert.Contains(t, stderr, "chat: "+ann.LocalAddr().String()+": ")
	assert.Contains(t, stderr, "at most 1024 are accepted")
}

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
			require.NoError(t, to.SetDeadline(time.Now().Add(patience)))
		}
	}
	require.NoError(t, <-said)
	return notices
}

// One member reads nothing. The room does not wait for it, the server does not keep much for it, and in the end it is
// thrown out.
func TestAMemberThatNeverReadsIsThrownOut(t *testing.T) {
	server := start(t, "-limit", "500")
	loud, calm, deaf := server.enter(t, "loud"), server.enter(t, "calm"), server.enter(t, "deaf")
	calm.hears("* guest3 enters lobby", "* guest3 is now deaf")
	before := residentBytes(t, server.cmd.Process.Pid)
	notices := flood(t, loud, calm)
	grown := residentBytes(t, server.cmd.Process.Pid) - before
	assert.Less(t, grown, int64(memoryLimit), "bytes that the server has grown by")
	assert.Equal(t, []string{"* deaf leaves lobby"}, notices)

	_, err := io.Copy(io.Discard, deaf.in)
	require.ErrorIs(t, err, syscall.ECONNRESET)
	calm.say("/who")
	calm.hears("* in lobby: calm loud")
	loud.Close()
	calm.Close()
	stderr := server.stop(t)
	assert.Contains(t, stderr, "chat: "+deaf.LocalAddr().String()+": thrown out: too slow: it missed 500 lines in a row\n")
	assert.Contains(t, stderr, fmt.Sprintf("lines said: %d, missed: ", count))
	assert.Contains(t, stderr, "; thrown out: 1; ")
}

// A member that reads late, but may: it hears the beginning, is told exactly how much it missed, and then hears the
// others again.
func TestAMemberThatReadsLateIsToldWhatItMissed(t *testing.T) {
	server := start(t, "-limit", "1000000")
	loud, calm, late := server.enter(t, "loud"), server.enter(t, "calm"), server.enter(t, "late")
	calm.hears("* guest3 enters lobby", "* guest3 is now late")
	before := residentBytes(t, server.cmd.Process.Pid)
	assert.Empty(t, flood(t, loud, calm))
	grown := residentBytes(t, server.cmd.Process.Pid) - before
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
	assert.Contains(t, server.stop(t), fmt.Sprintf("missed: %d; thrown out: 0;", missed))
}

// hearOn reads until all lines of a flood were heard or missed. What is heard comes in order, and each gap in it is
// as large as the notices say.
func hearOn(t *testing.T, c *person) (heard, missed int) {
	t.Helper()
	next, gap := 0, 0 // the line after the last one heard; what was missed since then, as far as numbers or notices tell
	told := 0
	for heard+told < count {
		require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
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
	server := start(t, "-limit", "1000000")
	loud, calm := server.enter(t, "loud"), server.enter(t, "calm")
	server.enter(t, "deaf")
	calm.hears("* guest3 enters lobby", "* guest3 is now deaf")
	loud.hears("* guest2 enters lobby", "* guest2 is now calm", "* guest3 enters lobby", "* guest3 is now deaf")
	before := residentBytes(t, server.cmd.Process.Pid)
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
	grown := residentBytes(t, server.cmd.Process.Pid) - before
	t.Logf("heard %d, missed %d; the server has grown by %.1f MiB", heard, missed, float64(grown)/(1<<20))
	assert.Less(t, grown, int64(memoryLimit), "bytes that the server has grown by")
}

func TestBadSettings(t *testing.T) {
	first := start(t)
	for _, test := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"port in use", []string{"-addr", first.addr}, 1, []string{first.addr, "address already in use", "127.0.0.1:0"}},
		{"no port", []string{"-addr", "127.0.0.1"}, 1, []string{`"127.0.0.1"`, "HOST:PORT"}},
		{"negative loops", []string{"-addr", "127.0.0.1:0", "-loops", "-1"}, 1, []string{"-loops -1"}},
		{"no limit", []string{"-limit", "0"}, 2, []string{"-limit is 0", "1 or more"}},
		{"not a number", []string{"-limit", "none"}, 2, []string{`"none"`, "-limit"}},
		{"unknown flag", []string{"-port", "7671"}, 2, []string{"-port", "-addr"}},
		{"argument", []string{"7671"}, 2, []string{`"7671"`, "-help"}},
		{"help", []string{"-help"}, 0, []string{"-addr", "-loops", "-limit", "127.0.0.1:7671"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, stdout, stderr := runToEnd(t, "", test.args...)
			assert.Equal(t, test.code, code)
			assert.Empty(t, stdout)
			for _, s := range test.says {
				assert.Contains(t, stderr, s)
			}
			assert.NotContains(t, stderr, "goroutine ", "a stack trace is no answer to a wrong setting")
		})
	}
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

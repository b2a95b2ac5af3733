package main

import (
	"bufio"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/examples/internal/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m, main)) }

// A person is a client.
type person struct {
	*net.TCPConn
	t  *testing.T
	in *bufio.Reader
}

// enter connects, hears its welcome, and takes a name.
func join(t *testing.T, p *program.Process, name string) *person {
	t.Helper()
	c := &person{TCPConn: p.Dial(t), t: t}
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
	server := program.Start(t, "-loops", "2")
	ann := join(t, server, "ann")
	bob := join(t, server, "bob")
	ann.hears("* guest2 enters lobby", "* guest2 is now bob")
	ann.say("hello")
	bob.hears("ann: hello")
	bob.say("hi\r") // as telnet ends lines
	ann.hears("bob: hi")

	cid := join(t, server, "cid")
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

	dan := join(t, server, "cid") // the name is free again
	ann.hears("* guest4 enters lobby", "* guest4 is now cid")
	dan.say("/join kitchen") // so is the room
	dan.hears("* you are cid, in kitchen")
	ann.hears("* cid leaves lobby")

	server.Signal(t, os.Interrupt)
	ann.hearsTheEnd()
	dan.hearsTheEnd()
	ann.Close()
	dan.Close()
	require.Equal(t, 0, server.Wait(t))
	assert.Equal(t, "chat: shut down; lines said: 6, missed: 0; thrown out: 0; "+
		"connections closed in order: 2, aborted: 0\n", server.Stderr(t))
}

func TestCommandsThatCannotBe(t *testing.T) {
	server := program.Start(t)
	ann, bob := join(t, server, "ann"), join(t, server, "bob")
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
	server := program.Start(t)
	ann, bob := join(t, server, "ann"), join(t, server, "bob")
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
	stderr := server.Stop(t)
	assert.Contains(t, stderr, "chat: "+ann.LocalAddr().String()+": ")
	assert.Contains(t, stderr, "at most 1024 are accepted")
}

func TestBadSettings(t *testing.T) {
	first := program.Start(t)
	for _, test := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"port in use", []string{"-addr", first.Addr}, 1, []string{"-addr", first.Addr, "already in use", "a free one"}},
		{"no port", []string{"-addr", "127.0.0.1"}, 1, []string{"-addr", `"127.0.0.1"`, "host:port"}},
		{"negative loops", []string{"-addr", "127.0.0.1:0", "-loops", "-1"}, 1, []string{"-loops -1"}},
		{"no limit", []string{"-limit", "0"}, 2, []string{"-limit is 0", "1 or more"}},
		{"not a number", []string{"-limit", "none"}, 2, []string{`"none"`, "-limit"}},
		{"unknown flag", []string{"-port", "7671"}, 2, []string{"-port", "-addr"}},
		{"argument", []string{"7671"}, 2, []string{`"7671"`, "-help"}},
		{"help", []string{"-help"}, 0, []string{"-addr", "-loops", "-limit", "127.0.0.1:7671"}},
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

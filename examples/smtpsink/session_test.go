package main

import (
	"fmt"
	"io"
	"log"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/conn/frame"
)

const (
	greeting = "220 localhost ESMTP smtpsink\r\n"
	hello    = "HELO test\r\n"
	envelope = "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n"
	envelops = "250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 end it with a dot on a line of its own\r\n"
)

// testServer keeps mails of up to 5,000 bytes.
func testServer(memory int) *server {
	return &server{name: "localhost", size: 5000, store: newStore(memory), log: log.New(io.Discard, "", 0)}
}

// call is a client that was greeted and has said hello. No socket is needed for that.
func call(t *testing.T, sv *server) *conntest.Rig {
	r := conntest.New(&session{server: sv}, conn.Config{Split: lines}, conntest.Checked(t))
	require.Equal(t, greeting, r.Wire())
	r.Feed(hello)
	require.Equal(t, "250 localhost\r\n", r.Wire())
	return r
}

func TestCommands(t *testing.T) {
	const from, to = "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.org>"
	for _, test := range []struct{ commands, answers string }{
		{"NOOP", "250 2.0.0 ok"},
		{"noop with words", "250 2.0.0 ok"},
		{"VRFY somebody", "252 2.5.2 ..."},
		{"EXPN list", "502 5.5.1 ..."},
		{"AUTH PLAIN", "502 5.5.1 ..."},
		{"HELP", "214 2.0.0 ..."},
		{"BDAT 10 LAST", "500 5.5.2 ..."},
		{"", "500 5.5.2 ..."},
		{"EHLO", "501 5.5.4 ..."},
		{"RSET x", "501 5.5.4 ..."},
		{"QUIT x", "501 5.5.4 ..."},
		{"NOOP\nNOOP", "500 5.5.2 ..."}, // a bare LF ends no line
		{"NOOP \x00", "500 5.5.2 ..."},
		{strings.Repeat("x", 5*maxLine), "500 5.5.6 ..."},
		{strings.Repeat("x", maxLine-1) + "\r", "500 5.5.6 ..."},
		{"RCPT TO:<b@example.org>", "503 5.5.1 ..."},
		{"DATA", "503 5.5.1 ..."},
		{from + "|DATA", "250 2.1.0 ok|503 5.5.1 ..."},
		{from + "|" + from, "250 2.1.0 ok|503 5.5.1 ..."},
		{from + "|RSET|" + to, "250 2.1.0 ok|250 2.0.0 ok|503 5.5.1 ..."},
		{from + "|HELO again|" + to, "250 2.1.0 ok|250 localhost|503 5.5.1 ..."},
		{"mail from: <a@example.org>|rcpt to:<@one,@two:b@example.org>", "250 2.1.0 ok|250 2.1.5 ok"},
		{"MAIL FROM:<>|RCPT TO:<>", "250 2.1.0 ok|501 5.1.3 ..."},
		{`MAIL FROM:<"a> \" b"@example.org>`, "250 2.1.0 ok"},
		{"MAIL FROM:a@example.org", "501 5.5.4 ..."},
		{"MAIL FROM:<a@example.org", "501 5.5.4 ..."},
		{"MAIL FROM:<a@example.org>x", "501 5.5.4 ..."},
		{"MAIL FROM:<@route>", "501 5.5.4 ..."},
		{"MAIL TO:<a@example.org>", "501 5.5.4 ..."},
		{"MAIL", "501 5.5.4 ..."},
		{"MAIL FROM:<gr\u00fc\u00dfe@example.org>", "553 5.6.7 ..."},
		{from + " SIZE=5000 BODY=8bitmime", "250 2.1.0 ok"},
		{from + " SIZE=5001", "552 5.3.4 ..."},
		{from + " SIZE=99999999999999999999", "501 5.5.4 ..."},
		{from + " BODY=BINARYMIME", "501 5.5.4 ..."},
		{from + " SMTPUTF8", "555 5.5.4 ..."},
		{from + "|" + to + " NOTIFY=NEVER", "250 2.1.0 ok|555 5.5.4 ..."},
	} {
		r := call(t, testServer(1<<20))
		for i, command := range strings.Split(test.commands, "|") {
			r.Feed(command + "\r\n")
			answer := r.Wire()
			want := strings.Split(test.answers, "|")[i]
			if head, ok := strings.CutSuffix(want, "..."); ok {
				assert.True(t, strings.HasPrefix(answer, head) && strings.HasSuffix(answer, "\r\n"), "%q: %q", command, answer)
				assert.Equal(t, 1, strings.Count(answer, "\r\n"), "%q: %q", command, answer)
				continue
			}
			assert.Equal(t, want+"\r\n", answer, "%q", command)
		}
	}
}

// Nothing but HELO and EHLO begins a session.
func TestMailBeforeHello(t *testing.T) {
	r := conntest.New(&session{server: testServer(1 << 20)}, conn.Config{Split: lines}, conntest.Checked(t))
	r.Feed("MAIL FROM:<a@example.org>\r\n")
	assert.Equal(t, greeting+"503 5.5.1 say EHLO first\r\n", r.Wire())
}

// However the stream is cut, the text is the same. Dots are taken away, long lines come whole.
func TestEveryCutOfAMail(t *testing.T) {
	long := strings.Repeat("y", 2*maxLine)
	const short = "Subject: x\r\n\r\n..\r\n.a\r\n\r\nb\r\n"
	stream := envelope + short + "." + long + "\r\n..\r\n.\r\nQUIT\r\nNOOP\r\n"
	text := "Subject: x\r\n\r\n.\r\na\r\n\r\nb\r\n" + long + "\r\n.\r\n"
	for cut := range len(stream) {
		sv := testServer(1 << 20)
		r := call(t, sv)
		r.Feed(stream[:cut], stream[cut:])
		require.Equal(t, envelops+"250 2.0.0 kept as mail 1\r\n221 2.0.0 bye\r\n", r.Wire(), "cut at %d", cut)
		require.Equal(t, text, string(sv.store.kept[0].text), "cut at %d", cut)
		require.True(t, r.FIN())
	}
}

// Only CR LF dot CR LF ends a mail: what looks like it to others smuggles no second mail in (CVE-2023-51764).
func TestSmuggledEnds(t *testing.T) {
	for _, end := range []string{"\n.\n", "\n.\r\n", "\r.\r", "\r\n.\n", "\r.\r\n", "\r\n.\r"} {
		sv := testServer(1 << 20)
		r := call(t, sv)
		r.Feed(envelope + "text" + end + "MAIL FROM:<mallory@example.org>\r\n.\r\n")
		answers, _ := strings.CutPrefix(r.Wire(), envelops)
		assert.Regexp(t, `^550 5\.6\.0 [^\r\n]*\r\n$`, answers, "%q", end)
		mails, _ := sv.store.accepted()
		assert.Zero(t, mails)
		assert.Zero(t, sv.store.used)
	}
}

func TestAMailThatIsTooLarge(t *testing.T) {
	sv := testServer(1 << 20)
	r := call(t, sv)
	r.Feed(envelope + strings.Repeat("12345678\r\n", 500) + ".\r\n")
	assert.Equal(t, envelops+"250 2.0.0 kept as mail 1\r\n", r.Wire())
	used := sv.store.used
	r.Feed(envelope + strings.Repeat("12345678\r\n", 501) + ".\r\nNOOP\r\n")
	assert.Equal(t, envelops+"552 5.3.4 a mail has at most 5000 bytes\r\n250 2.0.0 ok\r\n", r.Wire())
	assert.Equal(t, used, sv.store.used)
}

func TestTooManyRecipients(t *testing.T) {
	r := call(t, testServer(1<<20))
	r.Feed("MAIL FROM:<>\r\n" + strings.Repeat("RCPT TO:<b@example.org>\r\n", maxRcpts+1))
	answers := strings.SplitAfter(strings.TrimSuffix(r.Wire(), "\r\n"), "\r\n")
	assert.Len(t, answers, maxRcpts+2)
	assert.Equal(t, fmt.Sprintf("452 4.5.3 a mail has at most %d recipients", maxRcpts), answers[maxRcpts+1])
}

func TestTooManyErrors(t *testing.T) {
	r := call(t, testServer(1<<20))
	r.Feed(strings.Repeat("what\r\n", maxErrors+10))
	answers := r.Wire()
	assert.Equal(t, maxErrors, strings.Count(answers, unknown))
	assert.True(t, strings.HasSuffix(answers, "421 4.7.0 too many errors\r\n"), answers)
	assert.True(t, r.FIN())
}

// The oldest mails make room for new ones. What is arriving, all together, has no more than the memory.
func TestMemoryIsBounded(t *testing.T) {
	const memory = 20_000
	sv := testServer(memory)
	r := call(t, sv)
	text := strings.Repeat("12345678\r\n", 500)
	for i := range 10 {
		r.Feed(envelope + text + ".\r\n")
		require.Equal(t, envelops+fmt.Sprintf("250 2.0.0 kept as mail %d\r\n", i+1), r.Wire())
		require.LessOrEqual(t, sv.store.used, memory)
	}
	var numbers []int
	for _, m := range sv.store.unseen() {
		numbers = append(numbers, m.number)
	}
	assert.Equal(t, []int{8, 9, 10}, numbers)

	var arriving []*conntest.Rig
	for range 10 {
		r := call(t, sv)
		r.Feed(envelope + text)
		arriving = append(arriving, r)
		assert.LessOrEqual(t, sv.store.used, memory)
	}
	for i, r := range arriving {
		switch {
		case i < 3:
			r.Feed(".\r\n")
			assert.Equal(t, fmt.Sprintf("%s250 2.0.0 kept as mail %d\r\n", envelops, 11+i), r.Wire())
		case i%2 == 0:
			r.Feed(".\r\n")
			assert.Contains(t, r.Wire(), tooMuch)
		default:
			r.Reset()
		}
	}
	kept := 0
	for _, m := range sv.store.kept {
		kept += m.held
	}
	assert.Equal(t, kept, sv.store.used, "whoever leaves gives all back")
}

func TestIdle(t *testing.T) {
	r := conntest.New(&session{server: testServer(1 << 20)}, conn.Config{Split: lines, IdleTimeout: idleTimeout}, conntest.Checked(t))
	r.Feed(hello)
	r.Wire()
	r.Advance(idleTimeout)
	assert.Equal(t, "421 4.4.2 nothing came for too long\r\n", r.Wire())
	assert.True(t, r.FIN())
}

// frame.Lines would take a bare LF for an end, and end the connection at a line that is too long.
func TestLinesAreNotThoseOfFrame(t *testing.T) {
	_, token, err := frame.Lines(maxLine)([]byte("a\nb\r\n"), false)
	require.NoError(t, err)
	assert.Equal(t, "a", string(token))
	_, token, err = lines([]byte("a\nb\r\n"), false)
	require.NoError(t, err)
	assert.Equal(t, "a\nb\r\n", string(token))
}

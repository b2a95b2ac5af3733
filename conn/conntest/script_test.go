package conntest

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/interceptor"
)

func TestScripts(t *testing.T) { RunScripts(t, "testdata", shout) }

func TestTheScriptsOfPackageConn(t *testing.T) { RunScripts(t, "../testdata") }

// shout is a layer of the test's own.
var shout = ScriptLayer{Name: "shout", Make: func(args []string) (interceptor.Factory, error) {
	if len(args) > 0 {
		return nil, errors.New("it takes no arguments")
	}
	return func() interceptor.Interceptor { return loud{} }, nil
}}

type loud struct{ interceptor.Pass }

func (loud) Up(l interceptor.Link, p []byte) error { return l.Up(bytes.ToUpper(p)) }

func TestAMalformedScriptIsAnErrorWithFileAndLine(t *testing.T) {
	for line, want := range map[string]string{
		"jump":                    `x.txt:4: there is no verb "jump" here`,
		`"send" "x"`:              `x.txt:4: there is no verb "send" here`,
		`send "x`:                 `x.txt:4: the string "x does not end`,
		`send x`:                  `x.txt:4: send: "x" is not a quoted string`,
		`send "x"*many`:           `x.txt:4: "many" is not how many times`,
		`pause "x"`:               `x.txt:4: pause: "x" is one too many`,
		`feed`:                    `x.txt:4: feed: a quoted string is missing`,
		`timer soon`:              `x.txt:4: timer: "soon" is not a duration`,
		`allow some`:              `x.txt:4: allow: "some" is not a number`,
		`split prefixed 3 10`:     `x.txt:4: split: frame: Prefixed: width is 3`,
		`split words`:             `x.txt:4: split: there is no framing "words"`,
		`upgrade tls`:             `x.txt:4: upgrade: there is no layer "tls"`,
		`upgrade wrap "<"`:        `x.txt:4: upgrade: layer wrap: it takes 2 to 2 arguments, not 1`,
		`upgrade shout "x"`:       `x.txt:4: upgrade: layer shout: it takes no arguments`,
		`fail late "x"`:           `x.txt:4: fail: "late" is neither dial nor dns`,
		`config highwater 5`:      `x.txt:4: config highwater 5: it must stand before open`,
		`config color 5`:          `x.txt:4: config: there is no setting "color"`,
		`config readwaits maybe`:  `x.txt:4: config: readwaits is auto, on or off`,
		`open`:                    `x.txt:4: open: it must stand before open`,
		`open quickly`:            `x.txt:4: open: "quickly" is none of dialed, manual, armedonly`,
		`on OnSent send "x"`:      `x.txt:4: on: it takes the form: on CALL do LINE; LINE`,
		`on OnSend do send "x"`:   `x.txt:4: on: there is no callback "OnSend"`,
		`once OnSent do feed "x"`: `x.txt:4: once: there is no verb "feed" here`,
		`on OnSent do ; close`:    `x.txt:4: on: a line is missing before ";"`,
		`echo`:                    `x.txt:4: there is no verb "echo" here`,
	} {
		got, errs := runScript("x.txt", "# a comment\nopen\n\n"+line+"\n", []ScriptLayer{shout})
		assert.Empty(t, got, line)
		if assert.Len(t, errs, 1, line) {
			assert.Contains(t, errs[0].Error(), want)
		}
	}
	_, errs := runScript("x.txt", "send \"x\"\n", nil)
	require.Len(t, errs, 1)
	assert.EqualError(t, errs[0], `x.txt:1: send "x": open must come first`)
	_, errs = runScript("x.txt", "config lowwater 70000\nopen\n", nil)
	require.Len(t, errs, 1)
	assert.ErrorContains(t, errs[0], "x.txt:2: open: conn: Config.LowWater is 70000")
}

func TestAScriptThatSaysSomethingElseIsShownWithItsLine(t *testing.T) {
	src := "open\n----\nOnConnected\n\nfeed \"x\"\n----\nOnReceived \"y\"\n"
	got, errs := runScript("x.txt", src, nil)
	require.Empty(t, errs)
	assert.Equal(t, strings.Replace(src, `"y"`, `"x"`, 1), got)
	d := difference("x.txt", src, got)
	assert.Contains(t, d, "x.txt:7:")
	assert.Contains(t, d, "Written:\n\tOnReceived \"y\"")
	assert.Contains(t, d, "happened:\n\tOnReceived \"x\"")
}

func TestRewritingKeepsCommentsAndLayoutAndIsStable(t *testing.T) {
	src := "# A comment.\n\n\n  # Another one.\nopen\n\n# of a step\nfeed \"x\" \nstate\n----\nold\n\n\nclose"
	want := "# A comment.\n\n\n  # Another one.\nopen\n----\nOnConnected\n\n# of a step\nfeed \"x\"\nstate\n----\n" +
		"OnReceived \"x\"\nnext turn\nstate: Connected\n\n\nclose\n----\nfin\n"
	got, errs := runScript("x.txt", src, nil)
	require.Empty(t, errs)
	assert.Equal(t, want, got)
	again, errs := runScript("x.txt", got, nil)
	require.Empty(t, errs)
	assert.Equal(t, got, again)
}

func TestEveryScriptSaysWhatItShows(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	more, err := filepath.Glob("../testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, more)
	for _, f := range append(files, more...) {
		src, err := os.ReadFile(f)
		require.NoError(t, err)
		assert.True(t, strings.HasPrefix(string(src), "# "), "%s begins with a comment", f)
	}
}

func TestRewriteWritesWhatHappened(t *testing.T) {
	file := filepath.Join(t.TempDir(), "one.txt")
	require.NoError(t, os.WriteFile(file, []byte("# One.\nopen\n----\nsomething else\n"), 0o600))
	was := flag.Lookup("rewrite").Value.String()
	require.NoError(t, flag.Set("rewrite", "true"))
	RunScripts(t, filepath.Dir(file))
	require.NoError(t, flag.Set("rewrite", was))
	got, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, "# One.\nopen\n----\nOnConnected\n", string(got))
}

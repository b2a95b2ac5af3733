package conntest

import (
	"bufio"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/galago-go/galago/conn/frame"
	"github.com/galago-go/galago/interceptor"
)

// A token is a word, a ";", or a quoted string, of a line.
type token struct {
	text   string
	quoted bool
	at     int // where in the line it begins
}

// tokenize cuts a line into tokens.
func tokenize(line string) (tokens []token, err error) {
	for i := 0; i < len(line); {
		rest := line[i:]
		switch rest[0] {
		case ' ', '\t':
			i++
		case ';':
			tokens = append(tokens, token{";", false, i})
			i++
		case '"':
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return nil, fmt.Errorf("the string %s does not end", rest)
			}
			s, _ := strconv.Unquote(quoted)
			n, size, err := times(rest[len(quoted):])
			if err != nil {
				return nil, err
			}
			tokens = append(tokens, token{strings.Repeat(s, n), true, i})
			i += len(quoted) + size
		default:
			end := strings.IndexAny(rest, " \t;\"")
			if end < 0 {
				end = len(rest)
			}
			tokens = append(tokens, token{rest[:end], false, i})
			i += end
		}
	}
	return tokens, nil
}

// times reads the *1000 that may follow a string, and returns how many bytes of rest it took.
func times(rest string) (n, size int, err error) {
	digits, ok := strings.CutPrefix(rest, "*")
	if !ok {
		return 1, 0, nil
	}
	if end := strings.IndexAny(digits, " \t;\""); end >= 0 {
		digits = digits[:end]
	}
	if n, err = strconv.Atoi(digits); err != nil || n < 0 {
		return 0, 0, fmt.Errorf("%q is not how many times", digits)
	}
	return n, 1 + len(digits), nil
}

// args are the arguments of a line that are not read yet. The first error stays.
type args struct {
	tokens []token
	layers []ScriptLayer
	err    error
}

func (a *args) fail(format string, args ...any) {
	if a.err == nil {
		a.err = fmt.Errorf(format, args...)
	}
}

func (a *args) more() bool { return a.err == nil && len(a.tokens) > 0 }

func (a *args) next(what string, quoted bool) string {
	if !a.more() {
		a.fail("%s is missing", what)
		return ""
	}
	t := a.tokens[0]
	a.tokens = a.tokens[1:]
	if t.quoted != quoted {
		a.fail("%q is not %s", t.text, what)
	}
	return t.text
}

func (a *args) word() string { return a.next("a word", false) }
func (a *args) str() string  { return a.next("a quoted string", true) }

// strs reads the strings that are left, at least one.
func (a *args) strs() (all []string) {
	all = append(all, a.str())
	for a.more() {
		all = append(all, a.str())
	}
	return all
}

func (a *args) int() int {
	w := a.next("a number", false)
	n, err := strconv.Atoi(w)
	if err != nil {
		a.fail("%q is not a number", w)
	}
	return n
}

func (a *args) duration() time.Duration {
	w := a.next("a duration", false)
	d, err := time.ParseDuration(w)
	if err != nil {
		a.fail("%q is not a duration", w)
	}
	return d
}

// optional reads an error text, if there is one.
func (a *args) optional() error {
	if a.more() {
		return errors.New(a.str())
	}
	return nil
}

// split reads a framing. What frame would panic about is an error here.
func (a *args) split() (split bufio.SplitFunc) {
	defer func() {
		if v := recover(); v != nil {
			a.fail("%v", v)
		}
	}()
	switch name := a.word(); name {
	case "fixed":
		return frame.Fixed(a.int())
	case "prefixed":
		width := a.int()
		return frame.Prefixed(width, a.int())
	case "varint":
		return frame.Varint(a.int())
	case "delimited":
		delim := a.str()
		return frame.Delimited(delim, a.int())
	case "lines":
		return frame.Lines(a.int())
	case "scanlines":
		return bufio.ScanLines
	case "none":
		return nil
	default:
		a.fail("there is no framing %q", name)
		return nil
	}
}

// layer reads the name of a layer and its arguments.
func (a *args) layer() interceptor.Factory {
	name := a.word()
	var words []string
	for a.more() {
		words = append(words, a.tokens[0].text)
		a.tokens = a.tokens[1:]
	}
	for _, l := range append(a.layers, builtin...) {
		if l.Name == name {
			f, err := l.Make(words)
			if err != nil {
				a.fail("layer %s: %w", name, err)
			}
			return f
		}
	}
	a.fail("there is no layer %q", name)
	return nil
}

// parseLine reads one line of a script.
func parseLine(src string, layers []ScriptLayer) (action, error) {
	tokens, err := tokenize(src)
	if err != nil {
		return action{}, err
	}
	head := tokens[0].text
	if head == "on" || head == "once" {
		return parseReaction(src, tokens, layers)
	}
	return parseAction(tokens, layers, verbs, head)
}

// parseAction reads a line that begins with a verb of one of these.
func parseAction(tokens []token, layers []ScriptLayer, known map[string]func(*args) action, head string) (action, error) {
	a := &args{tokens: tokens[1:], layers: layers}
	verb, ok := known[head]
	if !ok || tokens[0].quoted {
		return action{}, fmt.Errorf("there is no verb %q here", head)
	}
	do := verb(a)
	if a.err == nil && len(a.tokens) > 0 {
		a.fail("%q is one too many", a.tokens[0].text)
	}
	if a.err != nil {
		return action{}, fmt.Errorf("%s: %w", head, a.err)
	}
	return do, nil
}

// parseReaction reads "on CALL do LINE; LINE".
func parseReaction(src string, tokens []token, layers []ScriptLayer) (action, error) {
	do := -1
	for i, t := range tokens {
		if t.text == "do" && !t.quoted {
			do = i
			break
		}
	}
	if do < 2 || do == len(tokens)-1 {
		return action{}, fmt.Errorf("%s: it takes the form: %s CALL do LINE; LINE", tokens[0].text, tokens[0].text)
	}
	r := reaction{
		call: strings.TrimSpace(src[tokens[1].at:tokens[do].at]),
		once: tokens[0].text == "once",
	}
	if name := tokens[1].text; !isCallback(name) {
		return action{}, fmt.Errorf("%s: there is no callback %q", tokens[0].text, name)
	}
	for rest := tokens[do+1:]; len(rest) > 0; {
		n, end := len(rest), len(src)
		for i, t := range rest {
			if t.text == ";" && !t.quoted {
				n, end = i, t.at
				break
			}
		}
		if n == 0 {
			return action{}, fmt.Errorf("%s: a line is missing before %q", tokens[0].text, ";")
		}
		act, err := parseAction(rest[:n], layers, reactions, rest[0].text)
		if err != nil {
			return action{}, fmt.Errorf("%s: %w", tokens[0].text, err)
		}
		r.lines = append(r.lines, line{strings.TrimSpace(src[rest[0].at:end]), act})
		rest = rest[min(n+1, len(rest)):]
	}
	return action{place: anywhere, other: func(s *script) { s.calls = append(s.calls, r) }}, nil
}

func isCallback(name string) bool {
	switch name {
	case "OnConnected", "OnConnectFailed", "OnReceived", "OnEOF", "OnThrottled", "OnUnthrottled", "OnSent",
		"OnSendFailed", "OnTimer", "OnIdle", "OnEvent", "OnClosed":
		return true
	}
	return false
}

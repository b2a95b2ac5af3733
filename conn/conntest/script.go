package conntest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/galago-go/galago/interceptor"
)

func init() {
	// Other packages of a test may bring a flag of that name, with the same meaning.
	if flag.Lookup("rewrite") == nil {
		flag.Bool("rewrite", false, "write what happened into the scripts, instead of comparing")
	}
}

func rewriting() bool { return flag.Lookup("rewrite").Value.String() == "true" }

// A ScriptLayer is a layer that scripts may use by name, beside the built-in ones.
type ScriptLayer struct {
	Name string
	Make func(args []string) (interceptor.Factory, error)
}

// RunScripts runs the scripts in dir, each file that ends in .txt as a subtest. A script tells a conversation step by
// step, and what each step led to, in order; "go test -rewrite" writes the latter. Read the difference before you
// commit it: it is the change of behaviour.
//
//	# An answer is written at the end of the turn; its outcome comes in a later one.
//	config split fixed 4
//	open
//	----
//	OnConnected
//
//	on OnReceived "AAAA" do send "ok"
//	feed "AAAABBBB"
//	----
//	OnReceived "AAAA"
//	  send "ok": 1
//	OnReceived "BBBB"
//	write "ok"
//	next turn
//	OnSent 1
//
// A step is the lines up to "----". Its output ends at an empty line. Lines that begin with # are comments. Strings are
// quoted as in Go; "x"*1000 is a long one. What runs is a [Rig] with a [Recorder], which does nothing but what the
// script says, and closes in OnEOF and OnIdle.
//
// Before open, which takes the words dialed, manual and armedonly, lines that begin with config set up the
// connection:
//
//	config split fixed N | prefixed WIDTH MAX | varint MAX | delimited "D" MAX | lines MAX | scanlines
//	config maxframe | highwater | lowwater | maxpending N
//	config readwaits auto | on | off
//	config starttimeout | closetimeout | idletimeout DURATION
//	config layer NAME ARGS   (once for each, the one nearest the socket first)
//	config stay              (OnEOF and OnIdle do not close)
//
// Layers are wrap "<" ">" (puts them around each send, and drops them from what comes up), hello "HI" "OK" (sends one,
// and is ready when the other has come), bye "B" (last words), silent (never ready), break "X" ["LAST WORDS"] (fails
// when X comes up), and those given to RunScripts.
//
// The owner acts by these lines; those in a row share one turn. What they return is shown, if it is anything:
//
//	send "A" ["B" ...]   write "A"   flush   close   closewrite   abort ["WHY"]   pause   resume
//	split ...            upgrade NAME ARGS   timer DURATION   stoptimer N   idle DURATION
//	state   stats   writeable
//
// The others act by these; see the methods of Rig:
//
//	feed "A" ["B" ...]   eof   readerror "WHY"   reset   allow N | all   failwrite "WHY"   advance DURATION
//	stall DURATION   turn   settle   suspend   unsuspend   connecting N   connected
//	fail dns | dial "WHY"   deadline   fin   memory
//
// Reactions are set by "on CALL do LINE; LINE ...": whenever a call begins with CALL, the owner does that. "once" does
// it the first time only. In OnReceived there are also echo, yield, and refuse "WHY", an error to return. "off" takes
// all reactions back.
func RunScripts(t *testing.T, dir string, layers ...ScriptLayer) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("conntest: no scripts in %s (%v)", dir, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			src, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, errs := runScript(file, string(src), layers)
			for _, err := range errs {
				t.Error(err)
			}
			switch {
			case got == string(src) || got == "":
			case rewriting():
				if err := os.WriteFile(file, []byte(got), 0o666); err != nil {
					t.Fatal(err)
				}
			default:
				t.Error(difference(file, string(src), got))
			}
		})
	}
}

// runScript returns the script with its output as it is now; it is empty if a line is malformed.
func runScript(file, src string, layers []ScriptLayer) (got string, errs []error) {
	blocks, err := parseScript(file, src, layers)
	if err != nil {
		return "", []error{err}
	}
	var b strings.Builder
	s := newScript(layers)
	for _, block := range blocks {
		out, err := s.run(block)
		if err != nil {
			return "", []error{err}
		}
		b.WriteString(block.text)
		if len(out) > 0 || block.separated {
			b.WriteString("----\n")
		}
		for _, line := range out {
			b.WriteString(line + "\n")
		}
		b.WriteString(block.gap)
	}
	for _, v := range s.violations() {
		errs = append(errs, fmt.Errorf("%s: %s", file, v))
	}
	return b.String(), errs
}

// A block is a step, or a group of comments.
type block struct {
	text      string // its lines, as they stand
	steps     []step
	separated bool   // there was a "----"
	gap       string // the empty lines that follow
}

// A step is one line.
type step struct {
	at  string // file:line
	src string
	do  action
}

// parseScript reads all lines before any of them runs.
func parseScript(file, src string, layers []ScriptLayer) (blocks []block, err error) {
	var b block
	output := false
	flush := func() {
		if b.text != "" || b.gap != "" {
			blocks = append(blocks, b)
		}
		b, output = block{}, false
	}
	for i, line := range strings.SplitAfter(src, "\n") {
		bare := strings.TrimSpace(line)
		switch {
		case line == "":
			continue
		case bare == "":
			b.gap += "\n"
			continue
		case b.gap != "":
			flush()
		}
		switch {
		case output: // it will be written anew
		case bare == "----":
			b.separated, output = true, true
		default:
			b.text += strings.TrimRight(line, " \t\n") + "\n"
			if strings.HasPrefix(bare, "#") {
				continue
			}
			at := fmt.Sprintf("%s:%d", file, i+1)
			do, err := parseLine(bare, layers)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", at, err)
			}
			b.steps = append(b.steps, step{at, bare, do})
		}
	}
	flush()
	return blocks, nil
}

// difference shows the first lines that differ.
func difference(file, want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	i := 0
	for i < len(w) && i < len(g) && w[i] == g[i] {
		i++
	}
	part := func(lines []string) string {
		return "\t" + strings.Join(lines[min(i, len(lines)):min(i+8, len(lines))], "\n\t")
	}
	return fmt.Sprintf("%s:%d: something else happened (-rewrite writes it down). Written:\n%s\nhappened:\n%s",
		file, i+1, part(w), part(g))
}

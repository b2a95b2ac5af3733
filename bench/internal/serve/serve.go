// Package serve has the servers that bench compares: those of this program. Each is run in a process of its own, by the
// sub-command serve.
package serve

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/galago-go/galago/bench/internal/pressure"
)

// A Role is what a server does.
type Role string

const (
	// Echo sends back whatever comes.
	Echo Role = "echo"
	// Frames sends each frame back: its length, 4 bytes, big-endian, and that many bytes. An echo server is one, too.
	Frames Role = "frames"
	// Sink takes what comes. After each MiB of a connection it answers how many bytes that makes, in 8 bytes, big-endian.
	Sink Role = "sink"
	// Source sends the bytes of Pattern again and again, as fast as the client takes them.
	Source Role = "source"
	// Fanout greets each client with News, and whenever anybody sends a byte, sends News to everybody, as many times as
	// the byte says: first to all, then to all again.
	Fanout Role = "fanout"
	// Work answers each message of WorkSize bytes with itself, after the work that it asks for; see DoWork.
	Work Role = "work"

	// The roles of the experiments with back-pressure; see package pressure for what is said in them.

	// Room sends a record to everybody at fixed times, from Begin to End.
	Room Role = "room"
	// Flood sends each record back; an echo server does the same.
	Flood Role = "flood"
	// Pump sends records as fast as it can, from Begin to End.
	Pump Role = "pump"
)

// Roles are all of them.
var Roles = []Role{Echo, Frames, Sink, Source, Fanout, Work, Room, Flood, Pump}

// A Config says how to serve.
type Config struct {
	Addr  string            // to listen on, IPv4
	Size  int               // bytes that a Source writes at once, and of the longest frame; else 0
	TLS   *tls.Config       // nil for plain TCP
	Ready func(addr string) // is called when clients can connect

	Pressure pressure.Settings // of Room, Flood and Pump
	Reports  io.Writer         // where these write what they report
}

// A Func serves until the process is killed, or fails.
type Func func(Config) error

// A Kind is a way to write servers.
type Kind struct {
	Name  string
	About string
	TLS   bool // whether it can
	Roles map[Role]Func
}

// Kinds are all of them, in the order in which they are shown. Each of their names is a rival.
var Kinds = []Kind{rawKind, netKind, netBufioKind, netQueueKind, netpollKind, galagoKind}

// Find returns the kind with this name.
func Find(name string) (Kind, bool) {
	i := slices.IndexFunc(Kinds, func(k Kind) bool { return k.Name == name })
	if i < 0 {
		return Kind{}, false
	}
	return Kinds[i], true
}

// Names returns the names of the kinds that play a role, or of all for "".
func Names(role Role) (names []string) {
	for _, k := range Kinds {
		if k.Roles[role] != nil || role == "" {
			names = append(names, k.Name)
		}
	}
	return names
}

// Run runs the server of a kind in a role. It prints where it listens, and then answers questions.
func Run(kind string, role Role, cfg Config, stdout io.Writer) error {
	k, ok := Find(kind)
	if !ok {
		return fmt.Errorf("-kind is %q: it must be one of %s", kind, strings.Join(Names(""), ", "))
	}
	serve := k.Roles[role]
	if serve == nil {
		return fmt.Errorf("-role is %q, which %s does not play: try one of %v", role, kind, roles(k))
	}
	if (role == Room || role == Flood || role == Pump) && cfg.Pressure.Report == 0 {
		return fmt.Errorf("-role %s needs -pressure: it says how", role)
	}
	if cfg.TLS != nil && !k.TLS {
		return fmt.Errorf("-tls: %s has no TLS", kind)
	}
	cfg.Reports = stdout
	cfg.Ready = func(addr string) {
		fmt.Fprintf(stdout, "listening on %s\n", addr)
		if k.Name != rawKind.Name { // which answers itself, as it leaves nobody else a processor
			go answerAll(questioner(), stdout)
		}
	}
	return serve(cfg)
}

func roles(k Kind) (played []Role) {
	for _, r := range Roles {
		if k.Roles[r] != nil {
			played = append(played, r)
		}
	}
	return played
}

// readSize is what each server reads at once at most, so that none has an advantage.
const readSize = 64 << 10

// questions is the descriptor from which a server reads what it is asked.
const questions = 0

// questioner is where questions are read without a thread that is held by the system: a goroutine that enters the system
// keeps its processor until the scheduler's monitor takes it away, which sleeps for up to 10 ms. With one processor all
// of the server stood still for as long, in each measurement.
func questioner() io.Reader {
	in, err := os.Stdin.Stat()
	if err != nil || in.Mode()&os.ModeNamedPipe == 0 || unix.SetNonblock(questions, true) != nil {
		return os.Stdin // nobody measures
	}
	return os.NewFile(questions, "questions")
}

func answerAll(in io.Reader, out io.Writer) {
	for scan := bufio.NewScanner(in); scan.Scan(); {
		answer(out, scan.Text())
	}
}

// answer answers a question for one number, by its name.
func answer(out io.Writer, question string) {
	var m runtime.MemStats
	switch question {
	case "heap": // what is live; whatever else can be given back to the system is, then
		runtime.GC() // twice, for what a sync.Pool or a finalizer keeps survives once
		debug.FreeOSMemory()
		runtime.ReadMemStats(&m)
		fmt.Fprintf(out, "%s %d\n", question, m.HeapAlloc)
	case "mallocs":
		runtime.ReadMemStats(&m)
		fmt.Fprintf(out, "%s %d\n", question, m.Mallocs)
	default:
		fmt.Fprintf(out, "%s: nobody knows\n", question)
	}
}

package conn

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The core stands on interceptor and the standard library, below it too.
func TestConnImportsInterceptorOnly(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{module + "conn", module + "interceptor"}, strings.Fields(string(out)))
}

// The core decides and never acts: it does no I/O, reads no clock, and has no need of a second goroutine.
func TestTheSourceOfConnIsPure(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	looked := 0
	for _, name := range files {
		if !strings.HasSuffix(name, "_test.go") {
			looked++
			for _, what := range impurities(t, name, nil) {
				t.Error(what)
			}
		}
	}
	assert.Greater(t, looked, 10, "files that were looked at")
}

// A check that never finds anything proves nothing.
func TestImpuritiesAreFound(t *testing.T) {
	for source, want := range map[string]string{
		`import "net"; var _ = net.ErrClosed`:                   ``,
		`import "net/netip"`:                                    ``,
		`import "net"; var _ = net.Dial`:                        `net.Dial`,
		`import tcp "net"; var _ = tcp.Listen`:                  `net.Listen`,
		`import . "net"`:                                        `import of net without a name`,
		`import "net/http"`:                                     `import of net/http`,
		`import "os"`:                                           `import of os`,
		`import "os/signal"`:                                    `import of os/signal`,
		`import "syscall"`:                                      `import of syscall`,
		`import "unsafe"`:                                       `import of unsafe`,
		`import "reflect"`:                                      `import of reflect`,
		`import "sync"`:                                         `import of sync`,
		`import "sync/atomic"`:                                  `import of sync/atomic`,
		`import "C"`:                                            `import of C`,
		`import "golang.org/x/sys/unix"`:                        `import of golang.org/x/sys/unix`,
		`import "time"; var _ = time.Now`:                       `time.Now`,
		`import "time"; func f() { time.Sleep(1) }`:             `time.Sleep`,
		`import "time"; func f() { time.AfterFunc(1, f) }`:      `time.AfterFunc`,
		`import "time"; var _ = time.NewTimer`:                  `time.NewTimer`,
		`import clock "time"; var _ = clock.Tick`:               `time.Tick`,
		`import . "time"`:                                       `import of time without a name`,
		`import "time"; var _ = time.Second`:                    ``,
		`import "time"; type own struct{}; var _ = own{}.Now()`: ``,
		`func f() { go f() }`:                                   `go statement`,
		`var _ chan int`:                                        `channel`,
		`func f() { select {} }`:                                `select statement`,
		`func f(c any) { c <- 1 }`:                              `send statement`,
		`func f(c any) { <-c }`:                                 `receive`,
	} {
		got := impurities(t, "x.go", "package x\n"+source)
		switch {
		case want == "":
			assert.Empty(t, got, source)
		case assert.Len(t, got, 1, source):
			assert.Truef(t, strings.HasSuffix(got[0], ": "+want), "%s: %s", source, got[0])
		}
	}
}

var (
	// clocks ask for the time, or wait.
	clocks = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}
	// banned packages act, or let goroutines meet; what is below them is banned, too.
	banned = []string{"C", "net", "os", "reflect", "runtime", "sync", "syscall", "unsafe"}
)

// impurities lists what the core has no business with in a file. src is as for parser.ParseFile.
func impurities(t *testing.T, name string, src any) (found []string) {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, src, parser.SkipObjectResolution)
	require.NoError(t, err)
	say := func(n ast.Node, format string, args ...any) {
		found = append(found, set.Position(n.Pos()).String()+": "+fmt.Sprintf(format, args...))
	}
	names := map[string]string{} // what net and time are called here
	for _, spec := range file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		require.NoError(t, err)
		top, _, below := strings.Cut(path, "/")
		switch {
		case path == "net" || path == "time":
			name := path
			if spec.Name != nil {
				name = spec.Name.Name
			}
			if name == "." {
				say(spec, "import of %s without a name", path)
			}
			names[name] = path
		case path == "net/netip", path == module+"interceptor":
		case slices.Contains(banned, top), below && strings.Contains(top, "."):
			say(spec, "import of %s", path)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			say(n, "go statement")
		case *ast.ChanType:
			say(n, "channel")
		case *ast.SelectStmt:
			say(n, "select statement")
		case *ast.SendStmt:
			say(n, "send statement")
		case *ast.UnaryExpr:
			if n.Op == token.ARROW {
				say(n, "receive")
			}
		case *ast.SelectorExpr:
			x, _ := n.X.(*ast.Ident)
			if x == nil {
				break
			}
			// Of package net, only the error that callers compare with.
			if path := names[x.Name]; path == "net" && n.Sel.Name != "ErrClosed" ||
				path == "time" && slices.Contains(clocks, n.Sel.Name) {
				say(n, "%s.%s", path, n.Sel.Name)
			}
		}
		return true
	})
	return found
}

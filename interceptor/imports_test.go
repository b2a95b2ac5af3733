package interceptor

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
)

const self = "github.com/galago-go/galago/interceptor"

// The package is a leaf: only the standard library, below it too.
func TestOnlyTheStandardLibraryIsImported(t *testing.T) {
	for dir, imports := range map[string]string{".": self, "./liveness": self + " " + self + "/liveness"} {
		out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", dir).Output()
		if err != nil {
			t.Fatal(err)
		}
		want(t, "packages beside the standard library", strings.Join(strings.Fields(string(out)), " "), imports)
	}
}

// The package does no I/O, reads no clock and starts no goroutine, nor do those below it. What sets options of sockets
// lies apart: liveness/os.go, with the files for each system.
func TestTheSourceIsPure(t *testing.T) {
	for _, dir := range []string{".", "liveness"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		looked := 0
		for _, name := range files {
			base := filepath.Base(name)
			if strings.HasSuffix(base, "_test.go") || dir == "liveness" && (base == "os.go" || strings.HasPrefix(base, "os_")) {
				continue
			}
			looked++
			for _, what := range impurities(t, name, nil) {
				t.Error(what)
			}
		}
		if looked < 5 {
			t.Errorf("only %d files of %s were looked at", looked, dir)
		}
	}
}

// The check above is worth something only if it finds what it looks for.
func TestImpuritiesAreFound(t *testing.T) {
	for source, found := range map[string]string{
		`import "net"`:                                        `import of net`,
		`import "net/netip"`:                                  ``,
		`import "net/http"`:                                   `import of net/http`,
		`import "os"`:                                         `import of os`,
		`import "os/signal"`:                                  `import of os/signal`,
		`import "syscall"`:                                    `import of syscall`,
		`import "golang.org/x/sys/unix"`:                      `import of golang.org/x/sys/unix`,
		`import "time"; var _ = time.Now`:                     `time.Now`,
		`import "time"; func f() { time.Sleep(1) }`:           `time.Sleep`,
		`import clock "time"; var _ = clock.Since`:            `time.Since`,
		`import . "time"`:                                     `dot import of time`,
		`import "time"; var _ = time.Second`:                  ``,
		`import "time"; type t struct{}; var now = t{}.Now()`: ``,
		`func f() { go f() }`:                                 `go statement`,
	} {
		got := impurities(t, "x.go", "package x\n"+source)
		if found == "" && len(got) > 0 || found != "" && (len(got) != 1 || !strings.HasSuffix(got[0], found)) {
			t.Errorf("%s: found %q, want %q", source, got, found)
		}
	}
}

// clocks are the functions of package time that ask for the time or wait.
var clocks = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

// impurities lists what the file has no business with. src is as for parser.ParseFile.
func impurities(t *testing.T, name string, src any) (found []string) {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, src, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	say := func(n ast.Node, format string, args ...any) {
		found = append(found, set.Position(n.Pos()).String()+": "+fmt.Sprintf(format, args...))
	}
	clock := ""
	for _, spec := range file.Imports {
		path, _ := strconv.Unquote(spec.Path.Value)
		top, _, _ := strings.Cut(path, "/")
		switch {
		case path == "time" && spec.Name == nil:
			clock = path
		case path == "time" && spec.Name.Name == ".":
			say(spec, "dot import of time")
		case path == "time":
			clock = spec.Name.Name
		case path == "net/netip", path == self:
		case top == "net", top == "os", top == "syscall", strings.Contains(top, "."):
			say(spec, "import of %s", path)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			say(n, "go statement")
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && clock != "" && x.Name == clock && slices.Contains(clocks, n.Sel.Name) {
				say(n, "time.%s", n.Sel.Name)
			}
		}
		return true
	})
	return found
}

package conn

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	module     = "github.com/galago-go/galago/"
	protoactor = "github.com/asynkron/protoactor-go/"
	system     = "golang.org/x/sys/"
	testify    = "github.com/stretchr/testify/"
)

// walls says what the packages below each folder may import beside the standard library and themselves. One that ends
// in a slash stands for all below it. The longest folder that fits counts. Tests may also import testify, and what is
// in tests.
var walls = map[string]struct{ code, tests []string }{
	"interceptor":          {},
	"interceptor/liveness": {code: []string{module + "interceptor"}, tests: []string{module + "conn", module + "conn/"}},
	"tls":                  {code: []string{module + "interceptor"}, tests: []string{module + "conn", module + "conn/"}},
	"conn":                 {code: []string{module + "interceptor"}, tests: []string{module + "conn/frame", module + "conn/conntest"}},
	"conn/frame":           {},
	"conn/clean":           {code: []string{module + "conn"}, tests: []string{module + "conn/conntest", module + "conn/frame", module + "interceptor", module + "interceptor/"}},
	"conn/conntest":        {code: []string{module + "conn", module + "conn/frame", module + "interceptor"}},
	"conn/loop":            {code: []string{module + "conn", module + "interceptor", system}, tests: []string{module + "conn/"}},
	"actor": {code: []string{module + "conn", module + "conn/loop", module + "interceptor", protoactor},
		tests: []string{module + "conn/", module + "interceptor/", module + "tls", system}},
	"examples":                  {code: []string{module, protoactor}, tests: []string{system}},
	"examples/internal/program": {code: []string{testify}}, // for tests alone
}

// TestEveryArrowPointsOneWay looks at each file of the module, whatever system it is for.
func TestEveryArrowPointsOneWay(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		rel := filepath.ToSlash(strings.TrimPrefix(name, ".."+string(filepath.Separator)))
		switch {
		case d.IsDir() && name != ".." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || ownModule(name)):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go"):
			return nil
		}
		seen[path.Dir(rel)] = true
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		require.NoError(t, err)
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			if why := forbidden(rel, imported); why != "" {
				t.Error(why)
			}
		}
		return nil
	})
	require.NoError(t, err)
	for _, dir := range []string{"interceptor", "conn", "conn/frame", "conn/conntest", "conn/loop", "actor"} {
		assert.True(t, seen[dir], "no file of %s was looked at", dir)
	}
}

// ownModule reports whether a folder is a module of its own, with dependencies of its own.
func ownModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// forbidden says why a file must not import a package, or nothing.
func forbidden(file, imported string) string {
	dir := path.Dir(file)
	top, _, _ := strings.Cut(imported, "/")
	if !strings.Contains(top, ".") || imported == module+dir {
		return ""
	}
	folder := dir
	for ; folder != "."; folder = path.Dir(folder) {
		if _, ok := walls[folder]; ok {
			break
		}
	}
	wall, ok := walls[folder]
	if !ok {
		return file + ": walls in conn/walls_test.go does not say what this folder may import"
	}
	may := func(list []string) bool {
		return slices.ContainsFunc(list, func(p string) bool {
			return imported == p || strings.HasSuffix(p, "/") && strings.HasPrefix(imported, p)
		})
	}
	below := strings.HasPrefix(imported, module+folder+"/") || imported == module+folder
	switch {
	case below && folder != "conn", may(wall.code):
		return "" // conn is above none of the folders in it
	case strings.HasSuffix(file, "_test.go") && (strings.HasPrefix(imported, testify) || may(wall.tests)):
		return ""
	}
	return file + " must not import " + imported
}

// A wall that lets everything through is none.
func TestWallsHold(t *testing.T) {
	const core, shell, glue, layer = module + "conn", module + "conn/loop", module + "actor", module + "interceptor"
	for _, k := range []struct {
		file, imported string
		may            bool
	}{
		{"interceptor/a.go", "time", true},
		{"interceptor/a.go", core, false},
		{"interceptor/a.go", testify + "assert", false},
		{"interceptor/liveness/a.go", layer, true},
		{"interceptor/liveness/a.go", core, false},
		{"interceptor/liveness/a_test.go", module + "conn/conntest", true},
		{"interceptor/liveness/a_test.go", glue, false},
		{"tls/a.go", layer, true},
		{"tls/a.go", "crypto/tls", true},
		{"tls/a.go", core, false},
		{"tls/a.go", "golang.org/x/crypto/cryptobyte", false},
		{"tls/a_test.go", module + "conn/conntest", true},
		{"tls/a_test.go", glue, false},
		{"conn/a.go", layer, true},
		{"conn/a.go", module + "conn/frame", false},
		{"conn/a.go", shell, false},
		{"conn/a_test.go", module + "conn/conntest", true},
		{"conn/a_test.go", shell, false},
		{"conn/a_test.go", protoactor + "actor", false},
		{"conn/frame/a.go", core, false},
		{"conn/clean/a.go", core, true},
		{"conn/clean/a.go", layer, false},
		{"conn/conntest/a.go", core, true},
		{"conn/conntest/a.go", testify + "assert", false},
		{"conn/conntest/a_test.go", testify + "assert", true},
		{"conn/loop/a.go", system + "unix", true},
		{"conn/loop/a.go", protoactor + "actor", false},
		{"actor/a.go", shell, true},
		{"actor/a.go", protoactor + "actor", true},
		{"actor/a.go", system + "unix", false},
		{"actor/a.go", module + "tls", false},
		{"actor/a_test.go", module + "tls", true},
		{"actor/a.go", module + "interceptor/liveness", false},
		{"actor/a_test.go", module + "interceptor/liveness", true},
		{"examples/echo/a.go", glue, true},
		{"examples/echo/a.go", system + "unix", false},
		{"examples/echo/a.go", "example.com/rival", false},
		{"elsewhere/a.go", core, false},
	} {
		assert.Equal(t, k.may, forbidden(k.file, k.imported) == "", "%s imports %s", k.file, k.imported)
	}
}

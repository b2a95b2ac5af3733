package actor

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestImports keeps the arrows of the module pointing one way: of our own packages, actor may import those below it,
// and of Proto.Actor nothing but its actors.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{join .Imports "\n"}}`, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	const module, proto = "github.com/galago-go/galago/", "github.com/asynkron/protoactor-go/"
	allowed := map[string]bool{
		module + "conn": true, module + "conn/loop": true, module + "interceptor": true, proto + "actor": true,
	}
	for path := range strings.FieldsSeq(string(out)) {
		if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") && !allowed[path] {
			t.Errorf("actor imports %s", path)
		}
		switch path {
		case "syscall", "unsafe":
			t.Errorf("actor imports %s: that is for package loop", path)
		}
	}
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, name := range files {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		if strings.Contains(string(text), "\t\"reflect\"\n") && name != "hearing.go" {
			t.Errorf("%s imports reflect: types are looked at in hearing.go only", name)
		}
	}
}

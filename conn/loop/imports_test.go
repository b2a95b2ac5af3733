package loop

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The shell stands on the core and the system, and on nothing else. It knows no actors.
func TestImports(t *testing.T) {
	allowed := map[string]bool{
		"github.com/galago-go/galago/conn":        true,
		"github.com/galago-go/galago/conn/loop":   true,
		"github.com/galago-go/galago/interceptor": true,
		"golang.org/x/sys/unix":                   true,
	}
	const what = "{{if not .Standard}}{{.ImportPath}}{{end}}"
	out, err := exec.Command("go", "list", "-deps", "-f", what, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	paths := strings.Fields(string(out))
	assert.Contains(t, paths, "github.com/galago-go/galago/conn/loop", "nothing was listed")
	for _, path := range paths {
		assert.True(t, allowed[path], "conn/loop must not import %s", path)
	}
}

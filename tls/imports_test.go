package tls

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The package is a layer without privilege: it knows what every layer knows.
func TestOnlyInterceptorAndTheStandardLibraryAreImported(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	require.NoError(t, err)
	const module = "github.com/galago-go/galago/"
	assert.ElementsMatch(t, []string{module + "interceptor", module + "tls"}, strings.Fields(string(out)))
}

// Neither pointers into crypto/tls nor its secrets: what it does not export may change.
func TestNothingUnsafeIsImported(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{join .Imports "\n"}}`, ".").Output()
	require.NoError(t, err)
	imports := strings.Fields(string(out))
	for _, banned := range []string{"unsafe", "reflect", "syscall"} {
		assert.False(t, slices.Contains(imports, banned), banned)
	}
}

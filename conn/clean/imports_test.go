package clean_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The package is made of what package conn offers to everybody.
func TestOnlyConnIsImported(t *testing.T) {
	const module = "github.com/galago-go/galago/"
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{module + "conn", module + "conn/clean", module + "interceptor"}, strings.Fields(string(out)))
}

package conntest

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestImportsConnAndBelow(t *testing.T) {
	const module = "github.com/galago-go/galago/"
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").CombinedOutput()
	require.NoError(t, err, string(out))
	require.ElementsMatch(t, []string{module + "conn", module + "conn/conntest", module + "conn/frame", module + "interceptor"},
		strings.Fields(string(out)))
}

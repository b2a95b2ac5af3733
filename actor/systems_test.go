package actor_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The gate builds all programs for other systems; that everything compiles, tests included, is shown here, in a fraction
// of the time. What package conn must not do is tested there.
func TestSHL7_TheModuleCompilesForOtherSystems(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has nothing to add")
	}
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	require.NoError(t, err)
	for _, system := range []string{"darwin", "freebsd", "windows"} {
		cmd := exec.Command("go", "vet", "./...")
		cmd.Dir = strings.TrimSpace(string(root))
		cmd.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		assert.NoError(t, err, "for %s:\n%s", system, out)
	}
}

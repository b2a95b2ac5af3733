package main

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func compareScript(commits []string, env ...string) (string, error) {
	cmd := exec.Command("bash", append([]string{"compare.sh"}, commits...)...)
	cmd.Env = append(cmd.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// The script that compares two commits is tried on one, twice, and on little of it.
func TestCompareScript(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds two commits")
	}
	if err := exec.Command("git", "rev-parse", "HEAD").Run(); err != nil {
		t.Skip("this is no git repository: ", err)
	}
	both := []string{"HEAD", "HEAD"}
	out, err := compareScript(both, "PKGS=./conn/frame", "BENCH=.", "COUNT=2", "TIME=1x")
	require.NoError(t, err, out)
	assert.Contains(t, out, "pkg: github.com/galago-go/galago/conn/frame")
	assert.Regexp(t, `AppendPrefix\S* +`, out)
	assert.Contains(t, out, "allocs/op")
	trees, err := exec.Command("git", "worktree", "list").Output()
	require.NoError(t, err)
	assert.NotRegexp(t, `/tmp\.\w+/(old|new) `, string(trees), "no work tree is left")

	for _, test := range []struct {
		commits []string
		env     string
		says    string
	}{
		{[]string{"HEAD", "nowhere"}, "COUNT=1", `"nowhere" is no commit`},
		{[]string{"HEAD", "HEAD", "HEAD"}, "COUNT=1", "two arguments at most"},
		{both, "COUNT=few", `COUNT is "few"`},
	} {
		out, err := compareScript(test.commits, test.env)
		assert.Error(t, err, test.says)
		assert.Contains(t, out, test.says)
	}
}

package result

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func piece(at int64, command ...string) *File {
	return &File{Version: Version, Started: time.Unix(at, 0), Command: command, Machine: Machine{CPU: "x", Commit: "abc"},
		Runs: []*Run{{Name: command[len(command)-1]}}}
}

func TestPiecesAreJoined(t *testing.T) {
	names := []string{"a.json", "b.json"}
	f, err := Join([]*File{piece(7, "all", "-rounds", "3", "-only", "echo"), piece(5, "all", "-only", "idle", "-rounds", "3", "-json", "b.json")}, names)
	require.NoError(t, err)
	assert.Equal(t, []string{"all", "-rounds", "3"}, f.Command, "what they are pieces of")
	assert.Equal(t, time.Unix(5, 0), f.Started)
	require.Len(t, f.Runs, 2)
	assert.Equal(t, "echo", f.Runs[0].Name)

	f, err = Join([]*File{piece(1, "echo"), piece(2, "idle")}, names)
	require.NoError(t, err)
	assert.Equal(t, []string{"all"}, f.Command)
	f, err = Join([]*File{piece(1, "echo")}, names[:1])
	require.NoError(t, err)
	assert.Equal(t, []string{"echo"}, f.Command)
}

func TestWhatDoesNotBelongTogether(t *testing.T) {
	names := []string{"a.json", "b.json"}
	other := piece(1, "echo")
	other.Machine.Commit = "def"
	_, err := Join([]*File{piece(1, "echo"), other}, names)
	assert.ErrorContains(t, err, `a.json was measured at commit "abc", b.json at "def"`)
	other = piece(1, "echo")
	other.Machine.Kernel = "7"
	_, err = Join([]*File{piece(1, "echo"), other}, names)
	assert.ErrorContains(t, err, "b.json was measured on another machine than a.json")
}

package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/bench/internal/report"
	"github.com/galago-go/galago/bench/internal/result"
)

// The run that is kept is whole, of a commit without changes, and galago kept its promises in it.
func TestTheLastRunIsWhole(t *testing.T) {
	f, err := result.Load("results/latest.json")
	require.NoError(t, err)
	require.NoError(t, report.Write(f, io.Discard))
	assert.Regexp(t, "^[0-9a-f]{12}$", f.Machine.Commit, "a commit, without changes")
	assert.Empty(t, f.Failed())
	seen := map[string]int{}
	for _, r := range f.Runs {
		seen[r.Name]++
		require.NotNil(t, r.Servers, r.Name)
	}
	want := map[string]int{}
	for _, call := range everything {
		name, _, _ := strings.Cut(call, " ")
		want[name] = seen[name] // a call may be several runs
		assert.Positive(t, seen[name], name)
	}
	assert.Equal(t, want, seen)

	page, err := os.ReadFile("results/latest.html")
	require.NoError(t, err)
	assert.Contains(t, string(page), f.Machine.Commit, "the page is of the same run")
	assert.Contains(t, string(page), f.Started.UTC().Format("2006-01-02 15:04 UTC"))
}

// What documents show is kept, small, and drawn by the run; nothing else is.
func TestThePlotsThatDocumentsShow(t *testing.T) {
	kept, err := os.ReadFile("results/plots/.gitignore")
	require.NoError(t, err)
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	var shown []string
	for _, m := range regexp.MustCompile(`\]\(bench/results/plots/([^)]+)\)`).FindAllStringSubmatch(string(readme), -1) {
		shown = append(shown, m[1])
	}
	var want []string
	for _, m := range regexp.MustCompile(`(?m)^!(.+)$`).FindAllStringSubmatch(string(kept), -1) {
		want = append(want, m[1])
	}
	assert.ElementsMatch(t, want, shown)
	require.NotEmpty(t, shown)

	f, err := result.Load("results/latest.json")
	require.NoError(t, err)
	drawn, err := report.SavePNG(f, t.TempDir())
	require.NoError(t, err)
	names := map[string]bool{}
	for _, path := range drawn {
		names[filepath.Base(path)] = true
	}
	for _, name := range shown {
		assert.True(t, names[name], "the last run has no plot %s", name)
		info, err := os.Stat(filepath.Join("results", "plots", name))
		require.NoError(t, err)
		assert.Less(t, info.Size(), int64(60<<10), name)
	}
}

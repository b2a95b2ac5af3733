package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/bench/internal/result"
)

// The page and the plots of a run are those that report makes of its JSON.
func TestAReportIsMadeAtOnceOrLater(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	var out, errs bytes.Buffer
	args := []string{"echo", "-conns", "1", "-rounds", "2", "-duration", "100ms", "-rivals", "net,galago",
		"-json", at("x.json"), "-html", at("once.html"), "-png", at("once")}
	require.Equal(t, 0, call(t, args, &out, &errs), errs.String())
	require.Equal(t, 0, call(t, []string{"report", "-in", at("x.json"), "-html", at("later.html"), "-png", at("later")}, &out, &errs), errs.String())
	for _, name := range []string{".html", "/echo-64-b-1-connections-cpu.png"} {
		once, err := os.ReadFile(at("once" + name))
		require.NoError(t, err)
		later, err := os.ReadFile(at("later" + name))
		require.NoError(t, err)
		assert.True(t, bytes.Equal(once, later), "%s: the same figures make the same report", name)
	}
	f, err := result.Load(at("x.json"))
	require.NoError(t, err)
	assert.NotContains(t, f.Runs[0].Command, "-png", "where results go is no part of how they are made")
}

func TestAReportOfSeveralCalls(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	var out, errs bytes.Buffer
	for _, name := range []string{"accept", "echo"} {
		args := []string{name, "-conns", "1", "-rounds", "1", "-duration", "100ms", "-rivals", "net,galago", "-json", at(name)}
		require.Equal(t, 0, call(t, args, &out, &errs), errs.String())
	}
	args := []string{"report", "-in", at("echo"), "-in", at("accept"), "-json", at("both"), "-html", at("both.html")}
	require.Equal(t, 0, call(t, args, &out, &errs), errs.String())
	f, err := result.Load(at("both"))
	require.NoError(t, err)
	require.Len(t, f.Runs, 2)
	assert.Equal(t, "echo", f.Runs[0].Name)
	assert.FileExists(t, at("both.html"))
}

func TestAReportOfNothing(t *testing.T) {
	var out, errs bytes.Buffer
	assert.Equal(t, 1, call(t, []string{"report", "-in", "/nowhere/x.json", "-html", filepath.Join(t.TempDir(), "x.html")}, &out, &errs))
	assert.Contains(t, errs.String(), "/nowhere/x.json")
	assert.Equal(t, 1, call(t, []string{"report", "-in", "main.go", "-html", filepath.Join(t.TempDir(), "x.html")}, &out, &errs))
	assert.Contains(t, errs.String(), "no result of bench")
}

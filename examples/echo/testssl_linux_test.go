package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/examples/internal/program"
	"github.com/galago-go/galago/examples/internal/selfsigned"
)

// testsslEnv says whether testssl.sh looks at the server: 1 for what takes a minute, full for all that it has.
const testsslEnv = "GALAGO_TESTSSL"

// A finding is what testssl.sh says of one thing.
type finding struct {
	ID       string `json:"id"`
	Severity string `json:"severity"`
	Finding  string `json:"finding"`
}

// ratings are those of testssl.sh, the best first. WARN and FATAL say that it could not find out.
var ratings = []string{"OK", "INFO", "DEBUG", "LOW", "WARN", "MEDIUM", "HIGH", "CRITICAL", "FATAL"}

// compare is a table of what was found of both servers, a line for each rating that is not the same or not good, and
// what is worse with ours: a worse rating, one that is not known, a bad one of what was not rated with theirs; and, since
// a server that ended would be rated well, anything that was found with theirs only.
func compare(ours, theirs []finding) (table string, worse []string) {
	var text strings.Builder
	fmt.Fprintf(&text, "| check | galago | crypto/tls over net | finding |\n|---|---|---|---|\n")
	good := 0
	for _, o := range ours {
		i := slices.IndexFunc(theirs, func(f finding) bool { return f.ID == o.ID })
		rating := "-"
		if i >= 0 {
			rating = theirs[i].Severity
		}
		rank := slices.Index(ratings, o.Severity)
		if rank < 0 || rank > max(slices.Index(ratings, rating), slices.Index(ratings, "INFO")) || i >= 0 && rank > slices.Index(ratings, rating) {
			worse = append(worse, fmt.Sprintf("%s is %s, and with crypto/tls %s: %s", o.ID, o.Severity, rating, o.Finding))
		}
		if o.Severity == rating && rank < slices.Index(ratings, "LOW") {
			good++
			continue
		}
		fmt.Fprintf(&text, "| %s | %s | %s | %s |\n", o.ID, o.Severity, rating, o.Finding)
	}
	for _, f := range theirs {
		if !slices.ContainsFunc(ours, func(o finding) bool { return f.ID == o.ID }) {
			worse = append(worse, fmt.Sprintf("%s is not found, and with crypto/tls %s: %s", f.ID, f.Severity, f.Finding))
		}
	}
	fmt.Fprintf(&text, "\n%d checks are rated OK or INFO (or DEBUG), the same with both.\n", good)
	return text.String(), worse
}

func TestCompareFindsWhatIsWorse(t *testing.T) {
	f := func(id, severity string) finding { return finding{ID: id, Severity: severity} }
	theirs := []finding{f("same", "OK"), f("bad", "CRITICAL"), f("info", "INFO"), f("gone", "OK")}
	_, worse := compare([]finding{f("same", "OK"), f("bad", "HIGH"), f("info", "OK"), f("gone", "OK"), f("new", "INFO")}, theirs)
	assert.Empty(t, worse)
	_, worse = compare([]finding{f("same", "INFO"), f("bad", "FATAL"), f("info", "LOW"), f("new", "LOW"), f("odd", "WHAT")}, theirs)
	var ids []string
	for _, w := range worse {
		ids = append(ids, strings.Fields(w)[0])
	}
	assert.Equal(t, []string{"same", "bad", "info", "new", "odd", "gone"}, ids)
}

// goEcho is the same server with crypto/tls over package net.
func goEcho(t *testing.T, pair tls.Certificate) (addr string) {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(program.Patience))
				_, _ = io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() { _ = ln.Close(); running.Wait() })
	return ln.Addr().String()
}

// testssl has testssl.sh look at a server.
func testssl(t *testing.T, command, addr string, checks []string) (found []finding) {
	file := filepath.Join(t.TempDir(), "found.json")
	args := append([]string{"--quiet", "--color", "0", "--warnings", "batch", "--nodns", "none",
		"--connect-timeout", "10", "--openssl-timeout", "10", "--jsonfile", file}, checks...)
	cmd := exec.Command(command, append(args, addr)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if !assert.NoError(t, cmd.Start()) {
		return nil
	}
	overdue := time.AfterFunc(14*time.Minute, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer overdue.Stop()
	_ = cmd.Wait() // its code is the number of what it does not like
	text, err := os.ReadFile(file)
	if assert.NoError(t, err, "%s", &out) {
		assert.NoError(t, json.Unmarshal(text, &found), "%s\n%s", &out, text)
	}
	return found
}

// testssl.sh, which nobody here wrote, rates nothing of the server worse than of one with Go's own TLS and the same
// certificate. Both have it at the same time.
func TestTestssl(t *testing.T) {
	// Versions, kinds of ciphers, what the server prefers, the certificate, forward secrecy, all vulnerabilities.
	checks := []string{"-p", "-s", "-S", "-P", "-f", "-U"}
	switch os.Getenv(testsslEnv) {
	case "1":
	case "full":
		checks = []string{"--full"}
	default:
		t.Skipf("it takes a minute: set %s to 1, or to full for ten", testsslEnv)
	}
	command, err := exec.LookPath("testssl")
	if err != nil {
		command, err = exec.LookPath("testssl.sh")
	}
	require.NoError(t, err)
	pair, err := selfsigned.New()
	require.NoError(t, err)
	cert, key, err := selfsigned.Write(t.TempDir(), pair)
	require.NoError(t, err)
	p := program.Start(t, "-cert", cert, "-key", key)
	var ours, theirs []finding
	began := time.Now()
	var running sync.WaitGroup
	running.Go(func() { ours = testssl(t, command, p.Addr, checks) })
	running.Go(func() { theirs = testssl(t, command, goEcho(t, pair), checks) })
	running.Wait()
	table, worse := compare(ours, theirs)
	t.Logf("testssl.sh %s, %v\n\n%s", strings.Join(checks, " "), time.Since(began).Round(time.Second), table)
	assert.Empty(t, worse)
	assert.Greater(t, len(ours), 60, "it has looked around")
	for _, id := range []string{"TLS1_3", "TLS1_2", "SSLv3", "heartbleed"} {
		assert.True(t, slices.ContainsFunc(ours, func(f finding) bool { return f.ID == id && f.Severity == "OK" }), id)
	}
	p.Stop(t)
}

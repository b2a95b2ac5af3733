package main

import (
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

//go:embed floor/bare.c
var bareSource []byte

// buildBare compiles the bare loop, and returns the program. It is C, for the floor should not be that of Go's scheduler.
func buildBare(dir string) (string, error) {
	program := filepath.Join(dir, "bare")
	source := program + ".c"
	if err := os.WriteFile(source, bareSource, 0o600); err != nil {
		return "", err
	}
	out, err := exec.Command("cc", "-O2", "-Wall", "-o", program, source).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building the bare loop needs a C compiler: %w\n%s", err, out)
	}
	return program, nil
}

// startBare starts the bare loop: listening, or with n connections to addr.
func startBare(program string, timeout time.Duration, hello []byte, addr string, n int) (*process, error) {
	args := []string{fmt.Sprint(timeout.Milliseconds()), hex.EncodeToString(hello)}
	if addr != "" {
		_, port, ok := strings.Cut(addr, ":")
		if !ok {
			return nil, errors.New("no port in " + addr)
		}
		args = append(args, port, fmt.Sprint(n))
	}
	return launch(exec.Command(program, args...))
}

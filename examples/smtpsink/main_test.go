package main

import (
	"bytes"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBadSettings(t *testing.T) {
	cert, key, _ := certificate(t)
	for _, test := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"no port", []string{"-addr", "localhost"}, 1, []string{"-addr", `"localhost"`}},
		{"no key", []string{"-cert", cert}, 2, []string{"-cert", "-key"}},
		{"no such file", []string{"-cert", cert + "x", "-key", key}, 1, []string{cert + "x"}},
		{"no certificate", []string{"-cert", key, "-key", key}, 1, []string{key, "no certificate in PEM"}},
		{"no size", []string{"-size", "0"}, 2, []string{"-size is 0"}},
		{"no room", []string{"-size", "1000", "-memory", "1999"}, 2, []string{"-memory is 1999", "1000"}},
		{"argument", []string{"2525"}, 2, []string{`"2525"`, "-help"}},
		{"help", []string{"-help"}, 0, []string{"-addr", "-cert", "-key", "-size", "-memory", "-whole", "-name"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			cmd := exec.Command(program, test.args...)
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			require.NoError(t, cmd.Start())
			_ = cmd.Wait() // the code tells
			assert.Equal(t, test.code, cmd.ProcessState.ExitCode())
			assert.Empty(t, stdout.String())
			for _, s := range test.says {
				assert.Contains(t, stderr.String(), s)
			}
			assert.NotContains(t, stderr.String(), "goroutine ", "a stack trace is no answer to a wrong setting")
		})
	}
}

package main

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/galago-go/galago/examples/internal/program"
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
			code, stdout, stderr := program.Run(t, "", test.args...)
			assert.Equal(t, test.code, code)
			assert.Empty(t, stdout)
			for _, s := range test.says {
				assert.Contains(t, stderr, s)
			}
			assert.NotContains(t, stderr, "goroutine ", "a stack trace is no answer to a wrong setting")
		})
	}
}

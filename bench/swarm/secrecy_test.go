package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The event of TLS comes once, before OnConnected, and only where there is TLS.
func TestTold_Established(t *testing.T) {
	for _, test := range []struct {
		secret bool
		order  string
		says   string
	}{
		{true, "EC", ""},
		{false, "C", ""},
		{true, "C", "OnConnected before tls.Established"},
		{true, "EEC", "the second one true"},
		{true, "CE", "after OnConnected true"},
		{false, "EC", "with TLS false"},
	} {
		r := newTell()
		r.secret = test.secret
		for _, what := range test.order {
			if what == 'E' {
				r.call("OnEvent", r.onEstablished)
				continue
			}
			r.connect()
		}
		if test.says == "" {
			assert.Empty(t, r.found, test.order)
			continue
		}
		assert.Contains(t, strings.Join(r.found, "\n"), test.says, test.order)
	}
}

package conn_test

import (
	"testing"

	"github.com/galago-go/galago/conn/conntest"
)

// TestScripts runs the scripts in testdata, one behaviour each; "go test ./conn -run TestScripts -rewrite" writes down
// what follows now, to be read as a diff.
func TestScripts(t *testing.T) { conntest.RunScripts(t, "testdata") }

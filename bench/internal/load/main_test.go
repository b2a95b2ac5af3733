package load

import (
	"os"
	"testing"

	"github.com/galago-go/galago/bench/internal/leak"
)

// TestMain fails the package if goroutines or descriptors are left.
func TestMain(m *testing.M) { os.Exit(leak.Run(m.Run)) }

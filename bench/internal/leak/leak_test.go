package leak

import (
	"os"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWhatIsLeftIsFound(t *testing.T) {
	assert.Zero(t, Run(func() int { return 0 }))
	assert.Equal(t, 3, Run(func() int { return 3 }), "failed anyway")

	synctest.Test(t, func(t *testing.T) { // patience costs no time here
		stop := make(chan struct{})
		assert.Equal(t, 1, Run(func() int { go func() { <-stop }(); return 0 }), "a goroutine")
		close(stop)
	})
	synctest.Test(t, func(t *testing.T) {
		var f *os.File
		assert.Equal(t, 1, Run(func() int {
			var err error
			f, err = os.Open(os.DevNull)
			require.NoError(t, err)
			return 0
		}), "a descriptor")
		require.NoError(t, f.Close())
	})
}

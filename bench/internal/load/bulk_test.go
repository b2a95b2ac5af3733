package load

import (
	"encoding/binary"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/bench/internal/serve"
)

func TestABulkChecksWhatItIsTold(t *testing.T) {
	to := listen(t, func(nc net.Conn) {
		io.CopyN(io.Discard, nc, serve.SinkUnit)
		nc.Write(binary.BigEndian.AppendUint64(nil, serve.SinkUnit-1))
		io.Copy(io.Discard, nc)
	})
	b, err := Inward(to, nil, 1, 16<<10)
	require.NoError(t, err)
	defer b.Close()
	_, _, err = b.Run(stallLimit)
	assert.ErrorContains(t, err, "1048575 bytes, not 1048576")
}

func TestABulkChecksWhatItGets(t *testing.T) {
	to := listen(t, func(nc net.Conn) {
		for i := 0; ; i++ {
			p := append([]byte(nil), serve.Pattern...)
			if i == 3 {
				p[77]++
			}
			if _, err := nc.Write(p); err != nil {
				return
			}
		}
	})
	b, err := Outward(to, nil, 1)
	require.NoError(t, err)
	defer b.Close()
	_, _, err = b.Run(stallLimit)
	assert.ErrorContains(t, err, "other bytes")
}

func TestBulksCountWhatIsMoved(t *testing.T) {
	for _, inward := range []bool{true, false} {
		to := listen(t, func(nc net.Conn) {
			if !inward {
				for {
					if _, err := nc.Write(serve.Pattern); err != nil {
						return
					}
				}
			}
			for n := uint64(serve.SinkUnit); ; n += serve.SinkUnit {
				if _, err := io.CopyN(io.Discard, nc, serve.SinkUnit); err != nil {
					return
				}
				nc.Write(binary.BigEndian.AppendUint64(nil, n))
			}
		})
		b, err := Outward(to, nil, 2)
		if inward {
			b.Close()
			b, err = Inward(to, nil, 2, 1000)
		}
		require.NoError(t, err)
		moved := 0
		for moved == 0 {
			_, mib, err := b.Run(stallLimit / 50)
			require.NoError(t, err)
			moved += mib
		}
		b.Close()
	}
}

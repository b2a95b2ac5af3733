package serve

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestATallyAnswersAfterEachUnit(t *testing.T) {
	be := func(n ...uint64) (p []byte) {
		for _, x := range n {
			p = binary.BigEndian.AppendUint64(p, x*SinkUnit)
		}
		return p
	}
	var once tally
	assert.Empty(t, once.take(SinkUnit-1))
	assert.Equal(t, be(1), once.take(1))
	assert.Equal(t, be(2, 3), once.take(2*SinkUnit+5))
	assert.Empty(t, once.take(SinkUnit-6))
	assert.Equal(t, be(4), once.take(1))
	assert.Empty(t, once.take(0))
}

func TestWorkIsDoneAsOftenAsAsked(t *testing.T) {
	assert.Zero(t, DoWork(WorkMessage(0)))
	one := DoWork(WorkMessage(1))
	assert.NotZero(t, one)
	assert.NotEqual(t, one, DoWork(WorkMessage(2)))
	assert.Len(t, WorkMessage(1), WorkSize)
}

func TestMessagesDiffer(t *testing.T) {
	assert.NotEqual(t, Message(1, 64), Message(2, 64))
	f := Frame(1, 64)
	assert.EqualValues(t, 60, binary.BigEndian.Uint32(f))
	assert.Equal(t, Message(1, 64)[4:], f[4:])
}

func TestRefusals(t *testing.T) {
	var out bytes.Buffer
	assert.ErrorContains(t, Run("gnat", Echo, Config{}, &out), "one of raw, net, net-bufio, net-queue, netpoll, galago")
	assert.ErrorContains(t, Run("net-bufio", Echo, Config{}, &out), "[frames]")
	cfg, err := Certificate()
	assert.NoError(t, err)
	assert.ErrorContains(t, Run("net", Room, Config{}, &out), "needs -pressure")
	assert.ErrorContains(t, Run("raw", Echo, Config{TLS: cfg}, &out), "no TLS")
	assert.Empty(t, out.String())
}

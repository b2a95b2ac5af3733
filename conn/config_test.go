package conn

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/interceptor"
)

func TestValidateNamesEachBadValueAndWhatWouldWork(t *testing.T) {
	pass := func() interceptor.Interceptor { return interceptor.Pass{} }
	for _, k := range []struct {
		cfg  Config
		want string
	}{
		{Config{Layers: []interceptor.Factory{pass, nil}}, "conn: Config.Layers[1] is nil: it must be a function that makes a layer"},
		{Config{MaxFrame: -1}, "conn: Config.MaxFrame is -1: it must be 0 (for the default) or a number of bytes"},
		{Config{HighWater: -2}, "conn: Config.HighWater is -2: it must be 0 (for the default) or a number of bytes"},
		{Config{LowWater: -3}, "conn: Config.LowWater is -3: it must be 0 (for the default) or a number of bytes"},
		{Config{MaxPending: -4}, "conn: Config.MaxPending is -4: it must be 0 (for the default) or a number of bytes"},
		{Config{HighWater: 10, LowWater: 11}, "conn: Config.LowWater is 11: it must be at most HighWater, 10"},
		{Config{LowWater: 65537}, "conn: Config.LowWater is 65537: it must be at most HighWater, 65536"},
		{Config{ReadWaits: 3}, "conn: Config.ReadWaits is Setting(3): it must be Auto, On or Off"},
		{Config{StartTimeout: -time.Second}, "conn: Config.StartTimeout is -1s: it must be 0 (for 10 s) or a positive duration"},
		{Config{CloseTimeout: -time.Second}, "conn: Config.CloseTimeout is -1s: it must be 0 (for 5 s) or a positive duration"},
		{Config{IdleTimeout: -1}, "conn: Config.IdleTimeout is -1ns: it must be 0 (for none) or a positive duration"},
	} {
		assert.EqualError(t, k.cfg.Validate(), k.want)
	}
}

func TestValidateNamesAllBadValuesAtOnce(t *testing.T) {
	cfg := Config{MaxFrame: -1, HighWater: -1, LowWater: -1, MaxPending: -1, ReadWaits: 9, StartTimeout: -1,
		CloseTimeout: -1, IdleTimeout: -1, Layers: []interceptor.Factory{nil}}
	err := cfg.Validate()
	require.Error(t, err)
	fields := []string{"Layers[0]", "MaxFrame", "HighWater", "LowWater", "MaxPending", "ReadWaits", "StartTimeout",
		"CloseTimeout", "IdleTimeout"}
	lines := strings.Split(err.Error(), "\n")
	require.Len(t, lines, len(fields), "one line each:\n%v", err)
	for i, field := range fields {
		assert.True(t, strings.HasPrefix(lines[i], "conn: Config."+field+" is "), lines[i])
	}
}

func TestValidateTakesWhatWorks(t *testing.T) {
	for name, cfg := range map[string]Config{
		"the zero Config":                 {},
		"the smallest":                    {MaxFrame: 1, HighWater: 1, LowWater: 1, MaxPending: 1},
		"LowWater as high as HighWater":   {HighWater: 10, LowWater: 10},
		"LowWater as high as the default": {LowWater: defaultHighWater},
		"less pending than HighWater":     {HighWater: 1000, MaxPending: 10},
		"the shortest times":              {StartTimeout: 1, CloseTimeout: 1, IdleTimeout: 1},
		"ReadWaits on":                    {ReadWaits: On},
		"ReadWaits off":                   {ReadWaits: Off},
	} {
		assert.NoError(t, cfg.Validate(), name)
	}
}

func TestDefaultsOfConfig(t *testing.T) {
	var zero Config
	assert.Equal(t, 64<<10, zero.maxFrame())
	assert.Equal(t, 64<<10, zero.highWater())
	assert.Equal(t, 32<<10, zero.lowWater())
	assert.Equal(t, 1<<20, zero.maxPending())
	assert.Equal(t, 10*time.Second, zero.startTimeout())
	assert.Equal(t, 5*time.Second, zero.closeTimeout())

	set := Config{MaxFrame: 1, HighWater: 20, MaxPending: 3, StartTimeout: 4, CloseTimeout: 5}
	assert.Equal(t, 1, set.maxFrame())
	assert.Equal(t, 20, set.highWater())
	assert.Equal(t, 10, set.lowWater(), "half of HighWater, as it is set")
	assert.Equal(t, 3, set.maxPending())
	assert.EqualValues(t, 4, set.startTimeout())
	assert.EqualValues(t, 5, set.closeTimeout())
	set.LowWater = 7
	assert.Equal(t, 7, set.lowWater())
}

func TestSettingsHaveNames(t *testing.T) {
	for s, want := range map[Setting]string{Auto: "auto", On: "on", Off: "off", 7: "Setting(7)"} {
		assert.Equal(t, want, s.String())
	}
}

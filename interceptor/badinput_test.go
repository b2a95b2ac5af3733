package interceptor

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
)

func TestBadInputOfFault(t *testing.T) {
	for said, f := range map[string]Faults{
		"Faults.Split is -0.1":  {Split: -0.1},
		"Faults.Delay is 2":     {Delay: 2},
		"Faults.Corrupt is NaN": {Corrupt: math.NaN()},
		"Faults.Break is +Inf":  {Break: math.Inf(1)},
	} {
		func() {
			defer func() { want(t, "panic", fmt.Sprint(recover()), "interceptor: "+said+", but must be from 0 to 1") }()
			Fault(1, f)
		}()
	}
	Fault(1, Faults{1, 1, 1, 1})
}

// A layer that is none is refused, and the chain is as it was.
func TestBadInputOfPush(t *testing.T) {
	c := new(Chain)
	err := c.Push(nil)
	if err == nil || !strings.Contains(err.Error(), "the layer is nil: a Factory must make one") {
		t.Errorf("Push of nil gives %v", err)
	}
	var none *Chain
	for _, i := range []Interceptor{none, c} {
		if err := c.Push(i); !errors.Is(err, errNotFresh) {
			t.Errorf("Push of %T gives %v", i, err)
		}
	}
	for range c.All() {
		t.Error("a layer was pushed")
	}
}
